package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"weir/internal/expr"
)

// BuiltinDimensions are the names that are always there and cannot be defined, but for key, the field of that name in a check
// by the API, which requests do not have: a dimension of that name in the file replaces it.
var BuiltinDimensions = []string{"ip", "host", "path", "method", "route", keyDimension}

const keyDimension = "key"

// templateNames are what a template may name besides dimensions.
var templateNames = []string{"uri", "query"}

var dimensionForm = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,63}$`)

// expressions compiles CEL against the dimensions of a file.
type expressions struct{ env *expr.Env }

// compile returns what is wrong with src, or "".
func (e *expressions) compile(src string, kind expr.Kind) string {
	if e.env == nil {
		return ""
	}
	if _, err := e.env.Compile(src, kind); err != nil {
		return fmt.Sprintf("the expression %s: %v", quote(src), err)
	}
	return ""
}

// compileSettle returns what is wrong with an expression on a response, or "".
func (e *expressions) compileSettle(src string) string {
	if e.env == nil {
		return ""
	}
	if _, err := e.env.CompileSettle(src); err != nil {
		return fmt.Sprintf("the expression %s: %v", quote(src), err)
	}
	return ""
}

// checkWhen checks a condition.
func (k *checker) checkWhen(path, src string) {
	if src == "" {
		return
	}
	if problem := k.known.exprs.compile(src, expr.Bool); problem != "" {
		k.fault(path, "%s", problem)
	}
}

// maxDimensions is how many dimensions a request can remember, besides the built-in ones.
const maxDimensions = 58

// checkDimensions checks names and sources, and makes the names known.
func (k *checker) checkDimensions() {
	for _, name := range BuiltinDimensions {
		k.known.dimensions.add(name)
	}
	first, own := map[string]int{}, 0
	for i := range k.c.Dimensions {
		d := &k.c.Dimensions[i]
		path := fmt.Sprintf("dimensions[%d]", i)
		if d.Name != keyDimension {
			own++
		}
		if own == maxDimensions+1 && d.Name != keyDimension {
			k.fault(path, "more than %d dimensions are not possible: remove those that no policy, pool, template or expression names", maxDimensions)
		}
		k.checkDimensionName(path+".name", d.Name, first, i)
		k.checkFrom(path+".from", d)
		k.checkText(path+".default", d.Default)
		if _, twice := first[d.Name]; !twice && dimensionForm.MatchString(d.Name) {
			if !k.known.dimensions.has(d.Name) {
				k.known.dimensions.add(d.Name)
			}
			first[d.Name] = i
		}
	}
	k.known.exprs = expressions{env: newEnv(k.known.dimensions.list)}
}

// newEnv returns an environment of the dimensions that it takes: a name that it refuses has a fault already.
func newEnv(dimensions []string) *expr.Env {
	env, err := expr.NewEnv(dimensions)
	if err == nil {
		return env
	}
	var good []string
	for _, d := range dimensions {
		if _, err := expr.NewEnv([]string{d}); err == nil {
			good = append(good, d)
		}
	}
	env, err = expr.NewEnv(good)
	if err != nil {
		return nil
	}
	return env
}

func (k *checker) checkDimensionName(path, name string, first map[string]int, index int) {
	if name == "" {
		return // recorded as missing
	}
	j, twice := first[name]
	switch {
	case slices.Contains(BuiltinDimensions, name) && name != keyDimension:
		k.fault(path, "the dimension %s is built in: use it without defining it, or choose another name", quote(name))
	case slices.Contains(templateNames, name):
		k.fault(path, "the name %s is taken: ${%s} in templates is the request's own: choose another", quote(name), name)
	case twice:
		k.fault(path, "the name %s is taken: dimensions[%d] has it in line %d: choose another", quote(name), j, k.line(fmt.Sprintf("dimensions[%d].name", j)))
	case !dimensionForm.MatchString(name):
		advice := "write up to 64 small letters, digits and _, not a digit first"
		if low := strings.ReplaceAll(strings.ToLower(name), "-", "_"); dimensionForm.MatchString(low) {
			advice = "small letters, digits and _ only: write " + low
		}
		k.fault(path, "%s is no name for a dimension: %s", quote(name), advice)
	default:
		if _, err := expr.NewEnv([]string{name}); err != nil {
			k.fault(path, "%v", err)
		}
	}
}

// sourcesAlone and sourcesOf are what a dimension may be taken from: by itself, or with a name after a colon.
var (
	sourcesAlone = []string{"client_ip", "host", "path", "method", "route"}
	sourcesOf    = []string{"header", "cookie", "query", "cert", "expr", "jwt"}
)

const fromForms = "client_ip, header:NAME, cookie:NAME, query:NAME, jwt:CLAIM, cert:cn, host, path, method, route or expr: CEL"

// checkFrom checks the source of a dimension. Expressions may name the dimensions above them.
func (k *checker) checkFrom(path string, d *Dimension) {
	if d.From == "" || slices.Contains(sourcesAlone, d.From) {
		return
	}
	kind, arg, hasArg := strings.Cut(d.From, ":")
	arg = strings.TrimSpace(arg)
	switch {
	case hasArg && kind == "client_ip":
		if _, _, ok := ClientIPPrefix(arg); !ok {
			k.fault(path, "%s is no source of a dimension: write client_ip:24,56, how many bits of an IPv4 (0 to 32) and IPv6 address (0 to 128) count as one client", quote(d.From))
		}
	case hasArg && slices.Contains(sourcesAlone, kind):
		k.fault(path, "%s takes no name: write %s", kind, kind)
	case !slices.Contains(sourcesOf, kind):
		advice := ": write " + fromForms
		if meant := nearest(kind, append(sourcesAlone, sourcesOf...)); meant != "" {
			advice = fmt.Sprintf(": did you mean %s?", strings.Replace(d.From, kind, meant, 1))
		}
		k.fault(path, "%s is no source of a dimension%s", quote(d.From), advice)
	case kind == "cert" && arg != "cn":
		k.fault(path, "%s is no source: of a certificate there is cert:cn", quote(d.From))
	case kind == "cert" && k.c.TLS.ClientAuth.Mode == "none":
		k.fault(path, "no client ever shows a certificate: write tls: {client_auth: {mode: request, ca: …}} too")
	case kind == "expr":
		e := expressions{env: newEnv(k.known.dimensions.list)}
		if problem := e.compile(arg, expr.String); problem != "" {
			k.fault(path, "%s", problem)
		}
	case arg == "" && kind == "jwt":
		k.fault(path, "%s needs a claim: write for example jwt:sub", quote(d.From))
	case arg == "":
		k.fault(path, "%s needs a name: write %s:NAME", quote(d.From), kind)
	case kind == "jwt" && !k.c.JWT.hasKeys() && !k.faultyBelow("jwt"):
		k.fault(path, "nothing says whom to believe: write jwt: {jwks_url: …}, jwks_file or secret at the top level too")
	case (kind == "header" || kind == "cookie") && !isToken(arg):
		k.fault(path, "%s is no name of a %s: letters, digits and !#$%%&'*+-.^_`|~", quote(arg), kind)
	}
}

// checkTemplate checks the ${names} of a header value or redirect.
func (k *checker) checkTemplate(path, text string) {
	for {
		i := strings.Index(text, "${")
		if i < 0 {
			return
		}
		rest := text[i+2:]
		if i > 0 && text[i-1] == '$' {
			text = rest
			continue
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			k.fault(path, "%s has no closing }: write ${dimension}, or $${ for the text itself", quote(text[i:]))
			return
		}
		if !k.known.dimensions.has(name) && !slices.Contains(templateNames, name) {
			advice := didYouMean(name, slices.Concat(k.known.dimensions.list, templateNames))
			if advice == "" {
				advice = ": define it under dimensions:, or write $${ for the text itself"
			}
			k.fault(path, "${%s} is no dimension%s", name, advice)
			return
		}
		text = after
	}
}
