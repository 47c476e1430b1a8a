package admin

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
)

// guard lets through what may be answered at all: gates 1 to 3 of the package comment, and panics.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := s.settings.Load()
		a := &answer{ResponseWriter: w}
		defer a.survive(n, r)
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")

		if why := n.foreign(r); why != "" {
			answerProblem(a, problem{Status: http.StatusForbidden, Detail: why})
			return
		}
		p, ok := n.authenticate(r)
		if !ok && r.URL.Path != "/livez" && r.URL.Path != "/readyz" {
			challenge(a, r)
			return
		}
		next.ServeHTTP(a, withPrincipal(r, p))
	})
}

// foreign says why r must not be answered whoever sent it, or "".
func (n *settings) foreign(r *http.Request) string {
	if len(n.tokens) == 0 {
		if !fromLoopback(r) {
			return "Without admin.tokens only this machine is answered."
		}
		if !addressed(r.Host) {
			return "Without admin.tokens this address is only known by its IP address or as localhost, not as " + quote(r.Host) + "."
		}
	}
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "", "same-origin", "none":
	default:
		return "A browser sent this on behalf of another site (Sec-Fetch-Site: " + quote(site) + ")."
	}
	for _, origin := range r.Header.Values("Origin") {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || !strings.EqualFold(u.Host, r.Host) {
			return "A browser sent this on behalf of another site (Origin: " + quote(origin) + ")."
		}
	}
	return ""
}

func fromLoopback(r *http.Request) bool {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// addressed reports whether a Host is an address rather than a name that somebody else may own. Browsers always send
// one, so that none at all is no danger.
func addressed(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if host == "" || strings.EqualFold(host, "localhost") || strings.EqualFold(host, "localhost.") {
		return true
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}

// quote shows what a client sent, cut short.
func quote(s string) string {
	if len(s) > 100 {
		s = s[:100] + "…"
	}
	return fmt.Sprintf("%q", s)
}

// answer knows whether anything was answered yet.
type answer struct {
	http.ResponseWriter
	begun bool
}

func (a *answer) WriteHeader(status int) {
	a.begun = a.begun || status >= 200
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	a.begun = true
	return a.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// survive answers a panic with 500, or cuts the connection if an answer has begun. To be deferred.
func (a *answer) survive(n *settings, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	n.log.Error("admin request panicked", "method", r.Method, "path", r.URL.Path, "from", r.RemoteAddr,
		"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if a.begun {
		panic(http.ErrAbortHandler)
	}
	answerProblem(a, problem{Status: http.StatusInternalServerError, Detail: "A fault of this program; its log has the details."})
}
