package cache

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A copied response in the model, which counts in whole seconds and keeps all in one list, the latest first.
type copied struct {
	path, xa, body, etag, tag     string
	varies, always, strict        bool
	born, life, behind, forgiving int
}

// page is what the origin has at a path now.
type page struct {
	version                    int
	age, life, behind, forgive int // -1: says nothing
	noStore, noCache, must     bool
	etag, varies, down, tagged bool
}

func (p *page) body(path, xa string) string {
	if !p.varies {
		xa = ""
	}
	return fmt.Sprint(path, " v", p.version, " ", xa)
}

func (p *page) control() string {
	var d []string
	add := func(yes bool, s string) {
		if yes {
			d = append(d, s)
		}
	}
	add(p.life >= 0, fmt.Sprint("max-age=", p.life))
	add(p.behind >= 0, fmt.Sprint("stale-while-revalidate=", p.behind))
	add(p.forgive >= 0, fmt.Sprint("stale-if-error=", p.forgive))
	add(p.noStore, "no-store")
	add(p.noCache, "no-cache")
	add(p.must, "must-revalidate")
	return strings.Join(d, ", ")
}

type model struct {
	t     *rapid.T
	s     *sim
	now   int
	pages map[string]*page
	all   []*copied
}

func (m *model) find(path, xa string) *copied {
	for _, c := range m.all {
		if c.path == path && (!c.varies || c.xa == xa) {
			return c
		}
	}
	return nil
}

func (m *model) drop(which func(*copied) bool) int {
	n := len(m.all)
	m.all = slices.DeleteFunc(m.all, which)
	return n - len(m.all)
}

// keep does to the model what a whole response, or a 304 that renews old, does to a cache.
func (m *model) keep(path, xa string, p *page, old *copied, renewed bool) {
	c := &copied{path: path, xa: xa, body: p.body(path, xa), varies: p.varies, always: p.noCache}
	if renewed {
		c.body, c.tag = old.body, old.tag
	}
	if p.etag {
		c.etag = p.tagOf(path, xa)
	}
	if p.tagged {
		c.tag = fmt.Sprint("t", p.version)
	}
	c.strict = p.noCache || p.must
	c.born, c.life = m.now-p.age, max(0, p.life)
	if !c.strict {
		c.behind, c.forgiving = max(0, p.behind), max(0, p.forgive)
	}
	useful := c.life > p.age || c.life+max(c.behind, c.forgiving) > p.age || c.etag != "" && (p.life >= 0 || p.noCache)
	m.drop(func(o *copied) bool {
		return o == old || useful && !p.noStore && o.path == path && o.varies == c.varies && (!c.varies || o.xa == xa)
	})
	if useful && !p.noStore {
		m.all = append([]*copied{c}, m.all...)
	}
}

func (p *page) tagOf(path, xa string) string {
	return `"` + strings.ReplaceAll(p.body(path, xa), " ", "-") + `"`
}

// wish is what a client says in Cache-Control; -1: nothing.
type wish struct{ noCache, maxAge, minFresh, maxStale int }

func (w wish) String() string {
	switch {
	case w.noCache > 0:
		return "no-cache"
	case w.maxAge >= 0:
		return fmt.Sprint("max-age=", w.maxAge)
	case w.minFresh >= 0:
		return fmt.Sprint("min-fresh=", w.minFresh)
	case w.maxStale >= 0:
		return fmt.Sprint("max-stale=", w.maxStale)
	}
	return ""
}

// judge says what must come of a request.
func (m *model) judge(c *copied, w wish) Outcome {
	if c == nil {
		return Miss
	}
	ask := Miss
	if c.etag != "" {
		ask = Revalidate
	}
	age := m.now - c.born
	switch {
	case c.always, w.noCache > 0, w.maxAge >= 0 && age > w.maxAge, w.minFresh >= 0 && (age >= c.life || c.life-age < w.minFresh):
		return ask
	case age < c.life:
		return Hit
	case age < c.life+c.behind, w.maxStale >= 0 && !c.strict && age-c.life <= w.maxStale:
		return Stale
	}
	return ask
}

func (m *model) get(path, xa string, w wish) {
	p, c := m.pages[path], m.find(path, xa)
	want := m.judge(c, w)
	r := &asked1{head: get(path)}
	r.key.SetURL("http", "h", path, "")
	if xa != "" {
		r.field("X-A", xa)
	}
	if w.String() != "" {
		r.field("Cache-Control", w.String())
	}
	got := m.s.do(r, m.reply(p, path, xa, c))
	body, age := "", 0
	if c != nil {
		body, age = c.body, m.now-c.born
	}
	asked := want != Hit
	switch {
	case want == Stale:
		asked = age < c.life+c.behind // and that is done behind
		m.after(p, path, xa, c, asked)
	case want != Hit && p.down && c != nil && !c.always && w.noCache <= 0 && age < c.life+c.forgiving:
		want = Stale
	case want != Hit && p.down:
		body, age = "down", -1
	case want != Hit:
		m.after(p, path, xa, c, true)
		body, age = p.body(path, xa), -1
		if want == Revalidate && c.etag == p.tagOf(path, xa) && p.etag {
			body, age = c.body, p.age
		}
	}
	if got.outcome != want || got.body != body || got.asked != asked {
		m.t.Fatalf("GET %s x-a=%q %v at %d: want %v %q, asked %v; got %v", path, xa, w, m.now, want, body, asked, &got)
	}
	if v, _ := got.field("age"); age >= 0 && v != fmt.Sprint(age) {
		m.t.Fatalf("GET %s x-a=%q %v at %d: age %s, want %d", path, xa, w, m.now, v, age)
	}
}

// after does to the model what the origin's answer does.
func (m *model) after(p *page, path, xa string, c *copied, asked bool) {
	if !asked || p.down {
		return
	}
	m.keep(path, xa, p, c, c != nil && p.etag && c.etag == p.tagOf(path, xa))
}

// reply is what the origin says: 304 if what is stored is what it has.
func (m *model) reply(p *page, path, xa string, c *copied) *reply1 {
	if p.down {
		return &reply1{head: response(503), body: "down"}
	}
	o := &reply1{head: response(200), body: p.body(path, xa)}
	if p.etag && c != nil && c.etag == p.tagOf(path, xa) {
		o.status, o.body = 304, ""
	}
	o.field("Cache-Control", p.control()).field("Age", fmt.Sprint(p.age)).field("Date", m.s.date(0))
	if p.etag {
		o.field("ETag", p.tagOf(path, xa))
	}
	if p.varies {
		o.field("Vary", "X-A")
	}
	if p.tagged {
		o.field("Tags", fmt.Sprint("t", p.version))
	}
	return o
}

// change has the origin put something else at a path, or say something else of it.
func (m *model) change(t *rapid.T, path string) {
	some := rapid.SampledFrom([]int{-1, 0, 3, 10})
	yes := func(of int, name string) bool { return rapid.IntRange(1, of).Draw(t, name) == 1 }
	old, version := m.pages[path], 1
	if old != nil {
		version = old.version + rapid.IntRange(0, 1).Draw(t, "version")
	}
	m.pages[path] = &page{
		version: version, age: rapid.SampledFrom([]int{0, 0, 2}).Draw(t, "age"), life: some.Draw(t, "life"),
		behind: some.Draw(t, "behind"), forgive: some.Draw(t, "forgive"), noStore: yes(8, "no-store"), noCache: yes(6, "no-cache"),
		must: yes(5, "must"), etag: yes(2, "etag"), varies: len(path)%2 == 0 && old == nil && yes(2, "varies") || old != nil && old.varies,
		down: yes(6, "down"), tagged: true,
	}
}

// TestModel has a cache and a naive one do the same things, and say the same: never is anything served past its freshness that was not
// validated or allowed, nor to whom it was not selected for, nor after a purge.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{t: t, s: newSim(t, 64<<20), pages: map[string]*page{}}
		m.s.p.Tags = "tags"
		paths := []string{"/a", "/b", "/b/c"}
		for _, p := range paths {
			m.change(t, p)
		}
		path := rapid.SampledFrom(paths)
		t.Repeat(map[string]func(*rapid.T){
			"get": func(t *rapid.T) {
				w := wish{-1, -1, -1, -1}
				n := rapid.SampledFrom([]int{0, 1, 5}).Draw(t, "n")
				switch rapid.IntRange(0, 9).Draw(t, "wish") {
				case 0:
					w.noCache = 1
				case 1:
					w.maxAge = n
				case 2:
					w.minFresh = n
				case 3:
					w.maxStale = n
				}
				m.t = t
				m.get(path.Draw(t, "path"), rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "x-a"), w)
			},
			"wait": func(t *rapid.T) {
				n := rapid.IntRange(1, 6).Draw(t, "seconds")
				m.now += n
				m.s.pass(time.Duration(n) * time.Second)
			},
			"change": func(t *rapid.T) { m.change(t, path.Draw(t, "path")) },
			"post": func(t *rapid.T) {
				p := path.Draw(t, "path")
				var k Key
				k.SetURL("http", "h", p, "")
				m.agree(t, m.s.c.Invalidate("POST", &k, response(204)), m.drop(func(c *copied) bool { return c.path == p }))
			},
			"purge prefix": func(t *rapid.T) {
				p := path.Draw(t, "path")
				m.agree(t, m.s.c.Purge(Purge{PurgePrefix, "http://h" + p}), m.drop(func(c *copied) bool { return strings.HasPrefix(c.path, p) }))
			},
			"purge tag": func(t *rapid.T) {
				tag := fmt.Sprint("t", rapid.IntRange(1, 4).Draw(t, "tag"))
				m.agree(t, m.s.c.Purge(Purge{PurgeTag, tag}), m.drop(func(c *copied) bool { return c.tag == tag }))
			},
			"": func(*rapid.T) { m.s.idle(); m.s.audit() },
		})
	})
}

func (m *model) agree(t *rapid.T, got, want int) {
	if got != want {
		t.Fatalf("removed %d, want %d", got, want)
	}
}
