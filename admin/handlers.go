package admin

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"slices"
	"strings"
)

// call is one method of one path.
type call struct {
	need role
	do   http.HandlerFunc
}

// calls are the methods of a path. GET answers HEAD too.
type calls map[string]call

// paths is the whole API, by pattern of http.ServeMux.
func (s *Server) paths() map[string]calls {
	return map[string]calls{
		"/{$}":                    {"GET": {viewer, s.index}},
		"/livez":                  {"GET": {nobody, func(w http.ResponseWriter, _ *http.Request) { sendText(w, "ok\n") }}},
		"/readyz":                 {"GET": {nobody, s.ready}},
		"/metrics":                {"GET": {viewer, s.metrics}},
		"/api/v1/routes":          {"GET": {viewer, show(s.controller.Routes)}},
		"/api/v1/pools":           {"GET": {viewer, show(s.controller.Pools)}},
		"/api/v1/cluster":         {"GET": {viewer, show(s.controller.Cluster)}},
		"/api/v1/config":          {"GET": {viewer, show(s.controller.Config)}},
		"/api/v1/version":         {"GET": {viewer, s.version}},
		"/api/v1/explain":         {"POST": {viewer, s.explain}},
		"/api/v1/policies":        {"GET": {viewer, show(s.controller.Policies)}, "POST": {administrator, s.createPolicy}},
		"/api/v1/policies/{name}": {"GET": {viewer, s.policy}, "PUT": {administrator, s.putPolicy}, "DELETE": {administrator, s.deletePolicy}},
		"/api/v1/backpressure":    {"GET": {viewer, show(s.controller.Backpressure)}, "POST": {administrator, s.setBackpressure}, "DELETE": {administrator, s.dropBackpressure}},
		"/api/v1/cache":           {"DELETE": {administrator, s.purge}},
		"/api/v1/check":           {"POST": {viewer, s.check}}, // which asks for more if it spends
		"/api/v1/metrics":         {"GET": {viewer, s.usage}},
		"/api/v1/keys/{key}":      {"DELETE": {administrator, s.resetKey}},
		"/api/v1/config/validate": {"POST": {administrator, s.validate}},
		"/api/v1/config/reload":   {"POST": {administrator, s.reload}},
		"/api/v1/pools/{pool}/endpoints/{address}/drain": {"POST": {administrator, s.steer("drain", s.controller.Drain)}},
		"/api/v1/pools/{pool}/endpoints/{address}/ready": {"POST": {administrator, s.steer("ready", s.controller.Undrain)}},
	}
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, c := range s.paths() {
		mux.Handle(pattern, s.dispatch(c))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answerProblem(w, problem{Status: http.StatusNotFound, Detail: "There is no " + quote(r.URL.Path) + "; GET / lists what there is."})
	})
	return mux
}

// dispatch picks a path's call by method and checks the role it needs.
func (s *Server) dispatch(all calls) http.Handler {
	allow := make([]string, 0, len(all)+1)
	for method := range all {
		allow = append(allow, method)
		if method == "GET" {
			allow = append(allow, "HEAD")
		}
	}
	slices.Sort(allow)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == "HEAD" {
			method = "GET"
		}
		c, ok := all[method]
		if !ok {
			w.Header().Set("Allow", strings.Join(allow, ", "))
			answerProblem(w, problem{Status: http.StatusMethodNotAllowed, Detail: quote(r.Method) + " is not possible here; " + strings.Join(allow, ", ") + " is."})
			return
		}
		if who(r).role < c.need {
			s.forbid(w, r, "may only read; this", "admin")
			return
		}
		c.do(w, r)
	})
}

// forbid answers a request whose sender has not the role for it, and logs that.
func (s *Server) forbid(w http.ResponseWriter, r *http.Request, why, roles string) {
	p := who(r)
	path := r.URL.Path
	if r.PathValue("key") != "" { // which may be somebody's secret
		path = r.Pattern
	}
	s.settings.Load().log.Warn("admin change refused", "who", p.name, "from", r.RemoteAddr, "method", r.Method, "path", path)
	answerProblem(w, problem{Status: http.StatusForbidden, Detail: "The token " + quote(p.name) + " " + why + " needs role: " + roles + "."})
}

// index lists what there is.
func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	var lines []string
	for pattern, all := range s.paths() {
		for method := range all {
			lines = append(lines, fmt.Sprintf("%-6s %s\n", method, strings.TrimSuffix(pattern, "{$}")))
		}
	}
	slices.SortFunc(lines, func(a, b string) int { return cmp.Or(strings.Compare(a[7:], b[7:]), strings.Compare(a, b)) })
	sendText(w, "weir "+s.settings.Load().version+"\n\n"+strings.Join(lines, ""))
}

func show(what func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, what()) }
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if ok, why := s.controller.Ready(); !ok {
		answerProblem(w, problem{Status: http.StatusServiceUnavailable, Detail: why})
		return
	}
	sendText(w, "ready\n")
}

func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	h := s.settings.Load().metrics
	if h == nil {
		answerProblem(w, problem{Status: http.StatusNotFound, Detail: "This gateway shows no metrics."})
		return
	}
	h.ServeHTTP(w, r)
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) {
	answerJSON(w, map[string]string{"version": s.settings.Load().version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
}

// ExplainRequest is a request to be explained. Method is GET by default; URL is absolute or a path; Remote is the
// address of the client (with a port or without), by default that of the caller.
type ExplainRequest struct {
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]Values `json:"headers"`
	Remote  string            `json:"remote"`
}

// Values are the values of a header field. In JSON a single one may stand without brackets.
type Values []string

// UnmarshalJSON takes a string or a list of strings.
func (v *Values) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*v = Values{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(b, &many); err != nil {
		return errors.New("the value of a header must be a string or a list of strings")
	}
	*v = many
	return nil
}

func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	var x ExplainRequest
	if !readJSON(w, r, &x) {
		return
	}
	if x.Method == "" {
		x.Method = "GET"
	}
	if x.Remote == "" {
		x.Remote = r.RemoteAddr
	}
	var faults []fault
	if u, err := url.Parse(x.URL); err != nil || u.Host == "" && !strings.HasPrefix(u.Path, "/") {
		faults = append(faults, fault{Path: "url", Message: "must be a URL or a path that begins with /, not " + quote(x.URL)})
	}
	if !isAddress(x.Remote) {
		faults = append(faults, fault{Path: "remote", Message: "must be an IP address, with a port or without, not " + quote(x.Remote)})
	}
	if len(faults) > 0 {
		answerProblem(w, problem{Status: http.StatusBadRequest, Detail: "The request to be explained is not one.", Faults: faults})
		return
	}
	v, err := s.controller.Explain(x)
	if err != nil {
		answerProblem(w, problem{Status: http.StatusBadRequest, Detail: err.Error()})
		return
	}
	answerJSON(w, v)
}

func isAddress(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	_, err := netip.ParseAddrPort(s)
	return err == nil
}
