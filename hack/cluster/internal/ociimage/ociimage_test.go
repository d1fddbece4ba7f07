package ociimage

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// rootFS makes a folder with one of everything.
func rootFS(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(root, "usr/bin"), 0o755))
	must(os.WriteFile(filepath.Join(root, "usr/bin/tool"), []byte("tool"), 0o755))
	must(os.Chmod(filepath.Join(root, "usr/bin/tool"), 0o755|os.ModeSetuid))
	must(os.Link(filepath.Join(root, "usr/bin/tool"), filepath.Join(root, "usr/bin/tool2")))
	must(os.Symlink("usr/bin", filepath.Join(root, "bin")))
	must(os.Symlink("/nowhere", filepath.Join(root, "dangling")))
	must(os.WriteFile(filepath.Join(root, strings.Repeat("long", 50)), nil, 0o600))
	must(syscall.Mkfifo(filepath.Join(root, "pipe"), 0o600))
	if os.Geteuid() == 0 {
		must(os.Lchown(filepath.Join(root, "usr/bin/tool"), 1234567, 7654321))
		must(os.Chmod(filepath.Join(root, "usr/bin/tool"), 0o755|os.ModeSetuid))
	}
	return root
}

// unpack returns an archive's files and the headers in its layer by name.
func unpack(t *testing.T, file string) (blobs map[string][]byte, entries map[string]*tar.Header) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	blobs, entries = map[string][]byte{}, map[string]*tar.Header{}
	var layer []byte
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if layer == nil {
			layer = b // the first entry
		}
		if digest, ok := strings.CutPrefix(h.Name, "blobs/sha256/"); ok {
			if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != digest {
				t.Errorf("blob %s has another content", digest)
			}
		}
		blobs[h.Name] = b
	}
	for r := tar.NewReader(bytes.NewReader(layer)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return blobs, entries
		}
		if err != nil {
			t.Fatal(err)
		}
		if entries[h.Name] != nil {
			t.Errorf("%s is there twice", h.Name)
		}
		entries[h.Name] = h
	}
}

func TestArchive(t *testing.T) {
	out := filepath.Join(t.TempDir(), "image.tar")
	source := filepath.Join(t.TempDir(), "app")
	if err := os.WriteFile(source, []byte("app"), 0o755); err != nil {
		t.Fatal(err)
	}
	digest, err := Write(out, Image{
		Ref: "localhost/x:1", RootFS: rootFS(t), Files: map[string]string{"/opt/app/run": source, "/usr/bin/tool2": source},
		Entrypoint: []string{"/opt/app/run"}, Cmd: []string{"-v"}, Env: []string{"A=b"}, User: "1000", WorkDir: "/opt",
	})
	if err != nil {
		t.Fatal(err)
	}
	blobs, entries := unpack(t, out)

	var x index
	if err := json.Unmarshal(blobs["index.json"], &x); err != nil {
		t.Fatal(err)
	}
	if x.Manifests[0].Digest != digest || x.Manifests[0].Annotations[nameAnnotation] != "localhost/x:1" {
		t.Errorf("index = %+v", x)
	}
	var m manifest
	var c imageConfig
	blob := func(d string) []byte { return blobs["blobs/"+strings.Replace(d, ":", "/", 1)] }
	if err := json.Unmarshal(blob(digest), &m); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(blob(m.Config.Digest), &c); err != nil {
		t.Fatal(err)
	}
	if blob(m.Layers[0].Digest) == nil || c.RootFS.DiffIDs[0] != m.Layers[0].Digest {
		t.Errorf("layer %s, diff ids %v", m.Layers[0].Digest, c.RootFS.DiffIDs)
	}
	if want := []string{defaultPath, "A=b"}; !reflect.DeepEqual(c.Config.Env, want) {
		t.Errorf("env = %v", c.Config.Env)
	}
	if c.Config.User != "1000" || c.Config.WorkingDir != "/opt" {
		t.Errorf("config = %+v", c.Config)
	}

	for name, check := range map[string]func(h *tar.Header) bool{
		"usr/bin/": func(h *tar.Header) bool { return h.Typeflag == tar.TypeDir && h.Mode == 0o755 },
		"usr/bin/tool": func(h *tar.Header) bool {
			return h.Mode == 0o4755 && (os.Geteuid() != 0 || h.Uid == 1234567 && h.Gid == 7654321)
		},
		"usr/bin/tool2":            func(h *tar.Header) bool { return h.Typeflag == tar.TypeReg && h.Size == 3 && h.Uid == 0 }, // laid over
		"bin":                      func(h *tar.Header) bool { return h.Typeflag == tar.TypeSymlink && h.Linkname == "usr/bin" },
		"dangling":                 func(h *tar.Header) bool { return h.Linkname == "/nowhere" },
		"opt/app/":                 func(h *tar.Header) bool { return h.Typeflag == tar.TypeDir },
		"opt/app/run":              func(h *tar.Header) bool { return h.Mode == 0o755 && h.Uid == 0 },
		strings.Repeat("long", 50): func(h *tar.Header) bool { return h.Size == 0 },
	} {
		if h := entries[name]; h == nil || !check(h) || !h.ModTime.Equal(time.Unix(0, 0)) || h.Uname != "" {
			t.Errorf("%s: %+v", name, h)
		}
	}
	if entries["pipe"] != nil {
		t.Error("the pipe is in the layer")
	}
}

func TestHardLinksAreKept(t *testing.T) {
	out := filepath.Join(t.TempDir(), "image.tar")
	if _, err := Write(out, Image{Ref: "localhost/x:1", RootFS: rootFS(t)}); err != nil {
		t.Fatal(err)
	}
	_, entries := unpack(t, out)
	if h := entries["usr/bin/tool2"]; h.Typeflag != tar.TypeLink || h.Linkname != "usr/bin/tool" {
		t.Errorf("%+v", h)
	}
}

func TestSameContentSameArchive(t *testing.T) {
	var archives [2][]byte
	for i := range archives {
		out := filepath.Join(t.TempDir(), "image.tar")
		if _, err := Write(out, Image{Ref: "localhost/x:1", RootFS: rootFS(t)}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		archives[i] = b
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("archives of equal folders differ")
	}
}

func TestMemoryDoesNotGrowWithTheImage(t *testing.T) {
	root := t.TempDir()
	big, err := os.Create(filepath.Join(root, "big"))
	if err != nil {
		t.Fatal(err)
	}
	const size = 256 << 20
	if err := big.Truncate(size); err != nil { // sparse
		t.Fatal(err)
	}
	big.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Write(filepath.Join(t.TempDir(), "image.tar"), Image{Ref: "localhost/x:1", RootFS: root}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
		t.Errorf("%d MB allocated for an image of %d MB", used>>20, size>>20)
	}
}

func TestNames(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "image.tar")
	digest, err := Write(out, Image{Ref: "localhost:5000/a/b:2", RootFS: rootFS(t)})
	if err != nil {
		t.Fatal(err)
	}
	names, err := Names(out)
	if want := map[string]string{"localhost:5000/a/b:2": digest}; err != nil || !reflect.DeepEqual(names, want) {
		t.Errorf("names = %v, %v", names, err)
	}
	junk := filepath.Join(dir, "junk")
	if err := os.WriteFile(junk, []byte("no archive"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Names(junk); err == nil || !strings.Contains(err.Error(), "not an OCI archive") {
		t.Errorf("junk: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	out := filepath.Join(t.TempDir(), "image.tar")
	for _, img := range []Image{
		{Ref: "busybox:1"}, {Ref: "localhost/x"}, {Ref: "library/x:1"}, {Ref: "localhost/:1/"},
		{Ref: "localhost/x:1", Files: map[string]string{"/": "/dev/null"}},
		{Ref: "localhost/x:1", Files: map[string]string{"/a": "/nonexistent"}},
		{Ref: "localhost/x:1", Files: map[string]string{"/a": "/tmp"}},
	} {
		if _, err := Write(out, img); err == nil {
			t.Errorf("%+v: no error", img)
		}
	}
	if left, _ := filepath.Glob(out + "*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
