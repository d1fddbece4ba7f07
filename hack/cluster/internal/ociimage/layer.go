package ociimage

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"
)

// layer writes the files of an image as one tar stream.  The same content
// always gives the same bytes, so that an image has the same digest wherever
// it is made: entries are sorted, times are zero, owners are numbers.
type layer struct {
	tar   *tar.Writer
	made  map[string]bool   // entries written so far
	links map[inode]string  // first name of a file with several
	files map[string]string // image path -> source, added over the root folder
}

type inode struct{ device, number uint64 }

// writeLayer writes the root folder (may be empty) and the extra files.
func writeLayer(w io.Writer, root string, files map[string]string) error {
	l := &layer{tar: tar.NewWriter(w), made: map[string]bool{}, links: map[inode]string{}, files: files}
	if root != "" {
		if err := l.addRoot(root); err != nil {
			return err
		}
	}
	names := make([]string, 0, len(files))
	for n := range files {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		if err := l.addFile(n, files[n]); err != nil {
			return err
		}
	}
	return l.tar.Close()
}

// addRoot walks the folder; WalkDir visits names in lexical order.
func (l *layer) addRoot(root string) error {
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil || rel == "." {
			return err
		}
		name := filepath.ToSlash(rel)
		if _, replaced := l.files[name]; replaced {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return l.add(name, p, info)
	})
}

// addFile adds one file with the folders above it, owned by root.
func (l *layer) addFile(name, source string) error {
	if err := l.parents(name); err != nil {
		return err
	}
	info, err := os.Stat(source) // a link given as a source means its target
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file; give a folder with --rootfs", source)
	}
	return l.writeRegular(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: int64(info.Mode().Perm()), Size: info.Size(),
	}, source)
}

func (l *layer) parents(name string) error {
	dir := path.Dir(name)
	if dir == "." || l.made[dir] {
		return nil
	}
	if err := l.parents(dir); err != nil {
		return err
	}
	l.made[dir] = true
	return l.header(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755})
}

// add writes one entry of the root folder.
func (l *layer) add(name, source string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: no owner known on this system", source)
	}
	h := &tar.Header{Name: name, Mode: tarMode(info.Mode()), Uid: int(st.Uid), Gid: int(st.Gid)}
	switch kind := info.Mode().Type(); kind {
	case fs.ModeDir:
		l.made[name] = true
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
		return l.header(h)
	case fs.ModeSymlink:
		target, err := os.Readlink(source)
		if err != nil {
			return err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
		return l.header(h)
	case 0:
		if st.Nlink > 1 {
			id := inode{uint64(st.Dev), st.Ino}
			if first, seen := l.links[id]; seen {
				h.Typeflag, h.Linkname = tar.TypeLink, first
				return l.header(h)
			}
			l.links[id] = name
		}
		h.Typeflag, h.Size = tar.TypeReg, info.Size()
		return l.writeRegular(h, source)
	default:
		// Devices, sockets and pipes: a runtime makes /dev itself, and the
		// others mean nothing without the process that made them.
		return nil
	}
}

func (l *layer) writeRegular(h *tar.Header, source string) error {
	f, err := os.Open(source)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := l.header(h); err != nil {
		return err
	}
	if n, err := io.Copy(l.tar, f); err != nil {
		return fmt.Errorf("%s: %w", source, err)
	} else if n != h.Size {
		return fmt.Errorf("%s changed its size while it was read", source)
	}
	return nil
}

func (l *layer) header(h *tar.Header) error {
	h.ModTime = time.Unix(0, 0)
	h.Format = tar.FormatPAX // long names; without times no PAX record varies
	return l.tar.WriteHeader(h)
}

// tarMode keeps the bits that os.FileMode holds apart from the permissions.
func tarMode(m fs.FileMode) int64 {
	mode := int64(m.Perm())
	for bit, value := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&bit != 0 {
			mode |= value
		}
	}
	return mode
}

// cleanName brings a path in an image to the form tar uses.
func cleanName(p string) (string, error) {
	clean := path.Clean("/" + p)[1:]
	if clean == "" || strings.HasSuffix(p, "/") {
		return "", fmt.Errorf("%q is not a file name in an image", p)
	}
	return clean, nil
}
