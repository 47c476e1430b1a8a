package http1

// Method returns the request's method.
func (h *Head) Method() []byte { return h.view(h.method) }

// Target returns the request target as it came.
func (h *Head) Target() []byte { return h.view(h.target) }

// Reason returns the response's reason phrase.
func (h *Head) Reason() []byte { return h.view(h.reason) }

// Name returns the name of field i as it came.
func (h *Head) Name(i int) []byte {
	f := &h.Fields[i]
	return h.Buf[f.name : f.name+uint32(f.nameLen)]
}

// Value returns the value of field i, without the space around it.
func (h *Head) Value(i int) []byte {
	f := &h.Fields[i]
	return h.Buf[f.value : f.value+f.valueLen]
}

// AppendField appends field i as a line.
func (h *Head) AppendField(dst []byte, i int) []byte {
	f := &h.Fields[i]
	if f.neat { // Fast path: it came as it goes.
		return append(dst, h.Buf[f.name:f.value+f.valueLen+2]...)
	}
	dst = append(dst, h.Name(i)...)
	dst = append(dst, ": "...)
	dst = append(dst, h.Value(i)...)
	return append(dst, '\r', '\n')
}

// Text returns name and value of field i as parts of text, which is a copy of Buf.
func (h *Head) Text(text string, i int) (name, value string) {
	f := &h.Fields[i]
	return text[f.name : f.name+uint32(f.nameLen)], text[f.value : f.value+f.valueLen]
}

// First returns the index of the first field k, or -1.
func (h *Head) First(k Known) int { return int(h.first[k]) - 1 }

// Get returns the value of the first field k, and whether there is one.
func (h *Head) Get(k Known) ([]byte, bool) {
	if i := h.First(k); i >= 0 {
		return h.Value(i), true
	}
	return nil, false
}

// Next returns the index of the first field of that lower-case name from i on, or -1.
func (h *Head) Next(name string, i int) int {
	for ; i < len(h.Fields); i++ {
		if int(h.Fields[i].nameLen) == len(name) && EqualFold(h.Name(i), name) {
			return i
		}
	}
	return -1
}

// Lookup returns the value of the first field of that lower-case name.
func (h *Head) Lookup(name string) ([]byte, bool) {
	if i := h.Next(name, 0); i >= 0 {
		return h.Value(i), true
	}
	return nil, false
}

func (h *Head) view(s span) []byte { return h.Buf[s.off : s.off+s.len] }
