package pki

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func newCA(t *testing.T, dir string) *Pair {
	t.Helper()
	ca, err := LoadOrCreateCA(filepath.Join(dir, "ca"), "test-ca")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestIssuedCertificateIsTrustedForItsPurpose(t *testing.T) {
	dir := t.TempDir()
	ca := newCA(t, dir)
	roots := x509.NewCertPool()
	roots.AddCert(ca.Cert)
	client, err := ca.Issue(filepath.Join(dir, "client"), Request{CommonName: "alice", Organizations: []string{"devs", "ops"}})
	if err != nil {
		t.Fatal(err)
	}
	server, err := ca.Issue(filepath.Join(dir, "server"), Request{CommonName: "web", SANs: []string{"web.local", "10.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		pair *Pair
		opts x509.VerifyOptions
		ok   bool
	}{
		{"client as client", client, x509.VerifyOptions{KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, true},
		{"client as server", client, x509.VerifyOptions{KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, false},
		{"server by name", server, x509.VerifyOptions{DNSName: "web.local"}, true},
		{"server by address", server, x509.VerifyOptions{DNSName: "10.0.0.1"}, true},
		{"server by another name", server, x509.VerifyOptions{DNSName: "other"}, false},
	} {
		c.opts.Roots = roots
		if _, err := c.pair.Cert.Verify(c.opts); (err == nil) != c.ok {
			t.Errorf("%s: verified = %v, want %v", c.name, err, c.ok)
		}
	}
	groups := client.Cert.Subject.Organization // a set: the encoding orders it
	if len(groups) != 2 || !slices.Contains(groups, "devs") || !slices.Contains(groups, "ops") {
		t.Errorf("organizations = %v", groups)
	}
}

func TestAuthorityIsKept(t *testing.T) {
	dir := t.TempDir()
	first, second := newCA(t, dir), newCA(t, dir)
	if !first.Cert.Equal(second.Cert) || !first.Key.Equal(second.Key) {
		t.Error("the second start made another authority")
	}
	if info, err := os.Stat(first.KeyFile()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}
}

func TestDamagedAuthorityIsAnErrorNotReplaced(t *testing.T) {
	dir := t.TempDir()
	newCA(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateCA(filepath.Join(dir, "ca"), "test-ca"); err == nil {
		t.Error("no error")
	}
}

func TestSigningKeyIsKept(t *testing.T) {
	dir := t.TempDir()
	key, public := filepath.Join(dir, "sa.key"), filepath.Join(dir, "sa.pub")
	var seen [2]string
	for i := range seen {
		if err := LoadOrCreateSigningKey(key, public); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(public)
		if err != nil {
			t.Fatal(err)
		}
		seen[i] = string(b)
	}
	if seen[0] != seen[1] {
		t.Error("tokens signed before the restart would be refused")
	}
}

func TestKubeconfigIsSelfContained(t *testing.T) {
	dir := t.TempDir()
	ca := newCA(t, dir)
	client, err := ca.Issue(filepath.Join(dir, "c"), Request{CommonName: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "kubeconfig")
	if err := WriteKubeconfig(file, "https://127.0.0.1:1", ca, client); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Clusters []struct{ Cluster map[string]string }
		Users    []struct{ User map[string]string }
	}
	if err := json.Unmarshal(b, &config); err != nil {
		t.Fatal(err)
	}
	if got := config.Clusters[0].Cluster["server"]; got != "https://127.0.0.1:1" {
		t.Errorf("server = %q", got)
	}
	want, _ := os.ReadFile(client.KeyFile())
	if got, err := base64.StdEncoding.DecodeString(config.Users[0].User["client-key-data"]); err != nil || string(got) != string(want) {
		t.Errorf("client key differs: %v", err)
	}
}
