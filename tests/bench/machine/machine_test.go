package machine

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestField(t *testing.T) {
	const text = "processor\t: 0\nmodel name\t: A CPU: the best\nmodel name\t: another\nNAME=\"x\"\n"
	for _, c := range [][3]string{{"model name", ":", "A CPU: the best"}, {"NAME", "=", `"x"`}, {"nothing", ":", "unknown"}, {"processor", "=", "unknown"}} {
		if got := field(text, c[0], c[1]); got != c[2] {
			t.Errorf("%q: %q, want %q", c[0], got, c[2])
		}
	}
}

func TestThis(t *testing.T) {
	m := This()
	if !strings.HasSuffix(m.CPU, " cores") || !strings.HasPrefix(m.Kernel, "Linux ") || m.OS == "" || strings.Contains(m.OS, `"`) {
		t.Errorf("%+v", m)
	}
	if _, err := strconv.ParseFloat(LoadAverage(), 64); err != nil {
		t.Error(err)
	}
}

func TestVersion(t *testing.T) {
	if got := Version("printf", "one\ntwo\n"); got != "one" {
		t.Errorf("%q", got)
	}
	if got := Version("sh", "-c", "echo told >&2; exit 1"); got != "told" { // as nginx -v does, which some versions end with 1
		t.Errorf("%q", got)
	}
	if got := Version("/no/such/program"); !strings.HasPrefix(got, "/no/such/program: ") {
		t.Errorf("%q", got)
	}
}

func TestBuild(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got := Build(self); !strings.HasPrefix(got, "go") || !strings.Contains(got, ", ") {
		t.Errorf("%q", got)
	}
	if got := Build("/etc/hostname"); got != "no build information" {
		t.Errorf("%q", got)
	}
}

func TestCommit(t *testing.T) {
	dir := t.TempDir()
	if got := Commit(dir); got != "unknown" {
		t.Errorf("%q where there is no repository", got)
	}
	git := func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@b.test", "-c", "commit.gpgsign=false"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	path := filepath.Join(dir, "file")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	git("init", "-q")
	write("one")
	git("add", "file")
	git("commit", "-qm", "one")
	rev := git("rev-parse", "--short", "HEAD")
	if got := Commit(dir); got != rev {
		t.Errorf("%q, want %q", got, rev)
	}
	write("two")
	if got := Commit(dir); got != rev+"+" {
		t.Errorf("%q with a file that differs, want %q", got, rev+"+")
	}
}
