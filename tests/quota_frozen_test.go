package tests

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// disk is a file system in a file.
type disk struct {
	t   *testing.T
	dir string
}

// newDisk mounts one, or skips the test where that is not possible.
func newDisk(t *testing.T) *disk {
	t.Helper()
	image, d := filepath.Join(t.TempDir(), "image"), &disk{t, t.TempDir()}
	for _, argv := range [][]string{{"truncate", "-s", "32M", image}, {"mkfs.ext4", "-q", image}, {"mount", "-o", "loop", image, d.dir}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no disk to freeze: %v: %v: %s", argv, err, out)
		}
	}
	// Another process ends it all after two minutes, whatever becomes of this one.
	guard := exec.Command("sh", "-c", `sleep 120; fsfreeze -u "$1"; umount -l "$1"`, "sh", d.dir)
	guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err := guard.Start()
	t.Cleanup(func() {
		d.thaw()
		if out, err := exec.Command("umount", d.dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
			syscall.Unmount(d.dir, syscall.MNT_DETACH)
		}
		if err == nil {
			syscall.Kill(-guard.Process.Pid, syscall.SIGKILL)
			guard.Wait()
		}
	})
	noError(t, err)
	return d
}

// freeze has every write wait until thaw.
func (d *disk) freeze() {
	d.t.Helper()
	if out, err := exec.Command("fsfreeze", "-f", d.dir).CombinedOutput(); err != nil {
		d.t.Skipf("the disk cannot be frozen: %v: %s", err, out)
	}
}

func (d *disk) thaw() { exec.Command("fsfreeze", "-u", d.dir).Run() }

// hearsSignals checks that it is not the first thread that waits for the disk: signals to the process would wait with it.
func (w *weir) hearsSignals() {
	w.t.Helper()
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/stat", w.cmd.Process.Pid)); err != nil || bytes.Contains(stat, []byte(") D ")) {
		w.t.Errorf("the first thread: %s %v", stat, err)
	}
}

// endsWithin waits until the process has ended but for threads that the kernel keeps until the disk answers.
func (w *weir) endsWithin(d time.Duration) {
	w.t.Helper()
	begin := time.Now()
	for ; ; time.Sleep(5 * time.Millisecond) {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", w.cmd.Process.Pid))
		ended := true
		for _, path := range threads {
			stat, err := os.ReadFile(path)
			ended = ended && (err != nil || bytes.Contains(stat, []byte(") Z ")) || bytes.Contains(stat, []byte(") D ")))
		}
		if ended {
			w.t.Logf("ended after %v", time.Since(begin))
			return
		}
		if time.Since(begin) > patience(d) {
			w.t.Errorf("weir still runs after %v", time.Since(begin))
			return
		}
	}
}

// TestQuotaFrozenDisk freezes the disk: traffic goes on, the API answers, what it shows is in force, and SIGTERM ends the gateway.
func TestQuotaFrozenDisk(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	w := startWeir(t, quotaConfig(d.dir, 1000)+"shutdown_timeout: 2s\n", nil)
	t.Cleanup(d.thaw) // before weir is waited for
	ask := func(want int) {
		t.Helper()
		begin := time.Now()
		if resp, _ := fetch(t, "GET", w.url("/q"), ""); resp.StatusCode != 200 || left(resp, "q") != want || time.Since(begin) > patience(500*time.Millisecond) {
			t.Errorf("%d, %d left after %v, want %d", resp.StatusCode, left(resp, "q"), time.Since(begin), want)
		}
	}
	admin := func(method, path, body string, most time.Duration) (int, string) {
		t.Helper()
		begin := time.Now()
		status, answer := w.admin(method, path, body)
		if took := time.Since(begin); took > patience(most) {
			t.Errorf("%s %s took %v", method, path, took)
		}
		return status, answer
	}
	quota := func(name string, most time.Duration) {
		t.Helper()
		status, body := admin("POST", "/api/v1/policies", `{"name":"`+name+`","algorithm":"quota","limit":1,"window":"month","routes":["q"]}`, most)
		if status < 400 || !strings.Contains(body, "has not answered") {
			t.Errorf("a new quota: %d %s", status, body)
		}
		if _, body := admin("GET", "/api/v1/policies", "", time.Second); strings.Contains(body, name) {
			t.Errorf("a quota that was refused is shown: %s", body)
		}
	}
	ask(999)
	time.Sleep(patience(300 * time.Millisecond))
	d.freeze()
	for i := range 20 {
		ask(998 - i)
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(300 * time.Millisecond)
	for _, path := range []string{"/metrics", "/readyz", "/api/v1/policies", "/api/v1/pools"} {
		if status, _ := admin("GET", path, "", time.Second); status != 200 {
			t.Errorf("%s: %d", path, status)
		}
	}
	w.hearsSignals()
	quota("slow", 6*time.Second)
	quota("quick", time.Second)
	if status, body := admin("POST", "/api/v1/policies", `{"name":"other","limit":1000,"window":"1s","routes":["q"]}`, time.Second); status != 201 {
		t.Errorf("a policy that is no quota: %d %s", status, body)
	}
	ask(978)
	if resp, _ := fetch(t, "GET", w.url("/q"), ""); left(resp, "other") < 0 {
		t.Error("the policy that was added is not in force")
	}
	if !strings.Contains(w.log.String(), "does not answer") {
		t.Error("the log does not say that the disk hangs")
	}
	w.signal(syscall.SIGTERM)
	w.endsWithin(3 * time.Second)
	if log := w.log.String(); !strings.Contains(log, "is forgotten") {
		t.Error("the log does not say what is forgotten")
	}
	d.thaw()
	if code := w.wait(10 * time.Second); code != 1 {
		t.Errorf("exit %d, want 1", code)
	}
	if w = w.again(); quotaLeft(w) < 977 || quotaLeft(w) > 999 {
		t.Errorf("%d left after the restart", quotaLeft(w))
	}
	w.stop()
}

// TestQuotaFrozenReload sends SIGTERM while a reload waits for a frozen disk: the listeners close at once.
func TestQuotaFrozenReload(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	w := startWeir(t, quotaConfig(d.dir, 1000)+"shutdown_timeout: 2s\n", nil)
	t.Cleanup(d.thaw)
	d.freeze()
	fetch(t, "GET", w.url("/q"), "")
	time.Sleep(300 * time.Millisecond)
	answered := make(chan int, 1)
	go func() {
		status := 0
		defer func() { answered <- status }() // admin may fail the test, and end this goroutine
		status, _ = w.admin("POST", "/api/v1/policies", `{"name":"more","algorithm":"quota","limit":1,"window":"month","routes":["q"]}`)
	}()
	time.Sleep(300 * time.Millisecond)
	w.hearsSignals()
	w.signal(syscall.SIGTERM)
	begin := time.Now()
	eventually(t, 300*time.Millisecond, "the listener is closed", func() bool {
		c, err := net.DialTimeout("tcp", w.addr("web"), time.Second)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if resp, _, err := tryFetch(plainClient, "GET", w.adminURL("/readyz"), ""); err == nil && resp.StatusCode != 503 { // it may have ended
		t.Errorf("/readyz says %d", resp.StatusCode)
	}
	if status := <-answered; status < 400 || time.Since(begin) > patience(time.Second) {
		t.Errorf("the reload was answered %d after %v", status, time.Since(begin))
	}
	w.endsWithin(3*time.Second - time.Since(begin))
	d.thaw()
	if code := w.wait(10 * time.Second); code != 1 {
		t.Errorf("exit %d, want 1", code)
	}
}

// TestQuotaFrozenStart starts with a frozen disk: that ends with an error that says so.
func TestQuotaFrozenStart(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	config := filepath.Join(t.TempDir(), "config.yaml")
	text := strings.NewReplacer("@admin", freeAddr(t), "@web", freeAddr(t)).Replace(quotaConfig(filepath.Join(d.dir, "data"), 1000))
	noError(t, os.WriteFile(config, []byte(text), 0o644))
	d.freeze()
	begin := time.Now()
	w := &weir{t: t, exited: make(chan struct{})}
	w.cmd = exec.Command(weirBin, "run", "-c", config)
	w.cmd.Stdout, w.cmd.Stderr = &w.log, &w.log
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	noError(t, w.cmd.Start())
	go func() { w.cmd.Wait(); close(w.exited) }()
	w.endsWithin(8 * time.Second)
	d.thaw()
	if code := w.wait(10 * time.Second); code != 1 || !strings.Contains(w.log.String(), "does not answer") {
		t.Errorf("exit %d after %v: %s", code, time.Since(begin), w.log.String())
	}
}
