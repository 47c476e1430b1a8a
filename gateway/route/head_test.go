package route

// head is a Head of fixed strings.
type head struct {
	method, host, path string
	headers, query     map[string]string
}

func (h *head) Method() string { return h.method }
func (h *head) Host() string   { return h.host }
func (h *head) Path() string   { return h.path }
func (h *head) Header(name string) (string, bool) {
	v, ok := h.headers[name]
	return v, ok
}
func (h *head) Query(name string) (string, bool) {
	v, ok := h.query[name]
	return v, ok
}
