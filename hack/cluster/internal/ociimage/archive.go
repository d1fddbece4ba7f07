// Package ociimage writes and reads OCI image archives, the tar files that
// `ctr images import` takes, without any container engine.
package ociimage

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

// An Image says what to write.
type Image struct {
	// Ref is the full name, such as localhost/runner:1.
	Ref string
	// RootFS is a folder taken whole; empty for an image from scratch.
	RootFS string
	// Files are single files, path in the image to source, laid over RootFS.
	Files      map[string]string
	Entrypoint []string
	Cmd        []string
	Env        []string
	User       string
	WorkDir    string
}

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	// Not compressed: the archive goes from one local disk to the same disk,
	// where gzip would cost far more than the bytes.
	layerType = "application/vnd.oci.image.layer.v1.tar"

	nameAnnotation = "io.containerd.image.name"
	refAnnotation  = "org.opencontainers.image.ref.name"
	defaultPath    = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	Manifests     []descriptor `json:"manifests"`
}

type runConfig struct {
	Env        []string `json:"Env,omitempty"`
	Entrypoint []string `json:"Entrypoint,omitempty"`
	Cmd        []string `json:"Cmd,omitempty"`
	User       string   `json:"User,omitempty"`
	WorkingDir string   `json:"WorkingDir,omitempty"`
}

type imageConfig struct {
	Architecture string    `json:"architecture"`
	OS           string    `json:"os"`
	Config       runConfig `json:"config"`
	RootFS       struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// Write writes the image to file and returns the manifest's digest.  Memory use
// does not depend on the image's size.
func Write(file string, img Image) (digest string, err error) {
	files := map[string]string{}
	for name, source := range img.Files {
		clean, err := cleanName(name)
		if err != nil {
			return "", err
		}
		files[clean] = source
	}
	if err := checkRef(img.Ref); err != nil {
		return "", err
	}
	temporary := file + ".tmp"
	out, err := os.Create(temporary)
	if err != nil {
		return "", err
	}
	defer func() {
		out.Close()
		if err != nil {
			os.Remove(temporary)
		}
	}()
	layer, err := writeLayerBlob(out, img.RootFS, files)
	if err != nil {
		return "", err
	}
	digest, err = writeMetadata(out, img, layer)
	if err != nil {
		return "", err
	}
	if err := out.Close(); err != nil {
		return "", err
	}
	return digest, os.Rename(temporary, file)
}

// writeLayerBlob writes the layer as the archive's first entry.  An entry's
// header holds its name and size, and a blob's name is its digest: none is known
// before the content is written, so the header is filled in afterwards.
func writeLayerBlob(out *os.File, root string, files map[string]string) (descriptor, error) {
	const headerSize = 512
	if _, err := out.Write(make([]byte, headerSize)); err != nil {
		return descriptor{}, err
	}
	hash, size := sha256.New(), &counter{}
	buffered := bufio.NewWriterSize(io.MultiWriter(out, hash, size), 1<<20)
	if err := writeLayer(buffered, root, files); err != nil {
		return descriptor{}, err
	}
	if err := buffered.Flush(); err != nil {
		return descriptor{}, err
	}
	d := descriptor{MediaType: layerType, Digest: "sha256:" + hex.EncodeToString(hash.Sum(nil)), Size: size.n}
	var header bytes.Buffer
	if err := tar.NewWriter(&header).WriteHeader(blobHeader(d)); err != nil {
		return descriptor{}, err
	}
	if header.Len() != headerSize {
		return descriptor{}, fmt.Errorf("layer of %d bytes is too large for one archive entry", d.Size)
	}
	if _, err := out.WriteAt(header.Bytes(), 0); err != nil {
		return descriptor{}, err
	}
	// (a tar stream is a multiple of 512 bytes long, so no padding is due)
	_, err := out.Seek(0, io.SeekEnd)
	return d, err
}

func writeMetadata(out io.Writer, img Image, layer descriptor) (string, error) {
	config := imageConfig{Architecture: runtime.GOARCH, OS: "linux", Config: runConfig{
		Env: withDefaultPath(img.Env), Entrypoint: img.Entrypoint, Cmd: img.Cmd, User: img.User, WorkingDir: img.WorkDir,
	}}
	config.RootFS.Type = "layers"
	config.RootFS.DiffIDs = []string{layer.Digest}
	configBlob, configBytes := jsonBlob(configType, config)
	manifestBlob, manifestBytes := jsonBlob(manifestType, manifest{
		SchemaVersion: 2, MediaType: manifestType, Config: configBlob, Layers: []descriptor{layer},
	})
	named := manifestBlob
	named.Annotations = map[string]string{nameAnnotation: img.Ref, refAnnotation: tag(img.Ref)}
	_, indexBytes := jsonBlob("", index{SchemaVersion: 2, Manifests: []descriptor{named}})

	w := tar.NewWriter(out)
	for _, e := range []struct {
		header *tar.Header
		data   []byte
	}{
		{blobHeader(configBlob), configBytes},
		{blobHeader(manifestBlob), manifestBytes},
		{entryHeader("index.json", int64(len(indexBytes))), indexBytes},
		{entryHeader("oci-layout", int64(len(ociLayout))), []byte(ociLayout)},
	} {
		if err := w.WriteHeader(e.header); err != nil {
			return "", err
		}
		if _, err := w.Write(e.data); err != nil {
			return "", err
		}
	}
	return manifestBlob.Digest, w.Close()
}

const ociLayout = `{"imageLayoutVersion":"1.0.0"}`

func jsonBlob(mediaType string, v any) (descriptor, []byte) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // only plain structs of strings come here
	}
	sum := sha256.Sum256(b)
	return descriptor{MediaType: mediaType, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(b))}, b
}

func blobHeader(d descriptor) *tar.Header {
	return entryHeader("blobs/"+strings.Replace(d.Digest, ":", "/", 1), d.Size)
}

func entryHeader(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatGNU}
}

func withDefaultPath(env []string) []string {
	for _, e := range env {
		if strings.HasPrefix(e, "PATH=") {
			return env
		}
	}
	return append([]string{defaultPath}, env...)
}

// checkRef rejects short names: the node's runtime would look for them under a
// public registry's name and never find the imported image.
func checkRef(ref string) error {
	host, rest, ok := strings.Cut(ref, "/")
	if !ok || rest == "" || !(strings.ContainsAny(host, ".:") || host == "localhost") {
		return fmt.Errorf("image name %q needs a host part, such as localhost/%s", ref, strings.TrimPrefix(ref, "/"))
	}
	if tag(ref) == "" {
		return fmt.Errorf("image name %q needs a tag, such as %s:1", ref, ref)
	}
	return nil
}

// tag is the part after the last colon of the last path element.
func tag(ref string) string {
	last := ref[strings.LastIndex(ref, "/")+1:]
	_, t, _ := strings.Cut(last, ":")
	return t
}

// counter counts what is written to it.
type counter struct{ n int64 }

func (c *counter) Write(b []byte) (int, error) { c.n += int64(len(b)); return len(b), nil }

// Names returns what an archive would import: image names to digests.
func Names(file string) (map[string]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next() // seeks over the layers
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s is not an OCI archive: no index.json in it", file)
		}
		if err != nil {
			return nil, fmt.Errorf("%s is not an OCI archive: %w", file, err)
		}
		if strings.TrimPrefix(h.Name, "./") != "index.json" {
			continue
		}
		var x index
		if err := json.NewDecoder(io.LimitReader(r, 4<<20)).Decode(&x); err != nil {
			return nil, fmt.Errorf("%s: index.json: %w", file, err)
		}
		names := map[string]string{}
		for _, m := range x.Manifests {
			name := m.Annotations[nameAnnotation]
			if name == "" {
				name = m.Annotations[refAnnotation]
			}
			if name != "" {
				names[name] = m.Digest
			}
		}
		return names, nil
	}
}
