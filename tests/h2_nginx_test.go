package tests

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestNginxH2: nginx as an endpoint of HTTP/2. It allows few streams, ends every connection with a GOAWAY after 50 requests, and answers an upload
// that it does not want before it has it; nobody notices.
func TestNginxH2(t *testing.T) {
	t.Parallel()
	dir, addr := t.TempDir(), freeAddr(t)
	large := bytes.Repeat([]byte("0123456789abcde\n"), 3<<16)
	for name, text := range map[string][]byte{"small": []byte("hello"), "large": large} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	startNginx(t, addr, `server { listen `+addr+` http2; root `+dir+`; keepalive_requests 50; http2_max_concurrent_streams 8; }`)
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
pools: [{name: up, protocol: h2c, endpoints: [{address: "@up"}]}]
routes: [{name: all, pool: up}]
`, map[string]string{"up": addr})
	for _, c := range []*http.Client{plainClient, h2(t)} {
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				for i := range 40 {
					path, want := "/small", []byte("hello")
					if i%10 == 9 {
						path, want = "/large", large
					}
					resp, err := c.Get(w.url(path))
					if err != nil {
						t.Error(err)
						return
					}
					b, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if resp.StatusCode != 200 || !bytes.Equal(b, want) || err != nil {
						t.Errorf("%s: %d %s, %d bytes, %v", path, resp.StatusCode, reasonOf(resp), len(b), err)
					}
				}
			})
		}
		wg.Wait()
		for range 5 {
			resp, err := c.Post(w.url("/small"), "text/plain", bytes.NewReader(large[:200_000])) // little enough that an HTTP/1 client gets to read the answer
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != 405 {
				t.Errorf("an upload: %d %s", resp.StatusCode, reasonOf(resp))
			}
			if resp, err = c.Head(w.url("/large")); err != nil || resp.StatusCode != 200 || resp.ContentLength != int64(len(large)) {
				t.Errorf("HEAD: %v %v", resp, err)
			}
		}
	}
}
