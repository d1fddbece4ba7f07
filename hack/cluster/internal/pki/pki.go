// Package pki makes the certificates and kubeconfigs of a test cluster.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Certificates outlive any test run; the backdating forgives a clock that
// steps back between two starts of a cluster.
const (
	lifetime  = 10 * 365 * 24 * time.Hour
	backdated = time.Hour
)

// A Pair is a certificate and its key, kept as STEM.crt and STEM.key.
type Pair struct {
	Cert *x509.Certificate
	Key  *ecdsa.PrivateKey
	Stem string
}

// CertFile is the path of the PEM certificate.
func (p *Pair) CertFile() string { return p.Stem + ".crt" }

// KeyFile is the path of the PEM key.
func (p *Pair) KeyFile() string { return p.Stem + ".key" }

// A Request says what a certificate is issued for.
type Request struct {
	CommonName    string
	Organizations []string
	// SANs are names and addresses.  With at least one, the certificate also
	// serves as a server certificate.
	SANs []string
}

// Load reads a pair written earlier.
func Load(stem string) (*Pair, error) {
	certPEM, err := os.ReadFile(stem + ".crt")
	if err != nil {
		return nil, err
	}
	keyPEM, err := os.ReadFile(stem + ".key")
	if err != nil {
		return nil, err
	}
	certBlock, _ := pem.Decode(certPEM)
	keyBlock, _ := pem.Decode(keyPEM)
	if certBlock == nil || keyBlock == nil {
		return nil, fmt.Errorf("%s.crt or .key holds no PEM block", stem)
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s.crt: %w", stem, err)
	}
	key, err := x509.ParseECPrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s.key: %w", stem, err)
	}
	return &Pair{Cert: cert, Key: key, Stem: stem}, nil
}

// LoadOrCreateCA returns the CA at stem, made at the first call: a
// cluster that is started again keeps trusting the kubeconfigs handed out.
func LoadOrCreateCA(stem, commonName string) (*Pair, error) {
	p, err := Load(stem)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	return create(stem, &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}, nil)
}

// Issue signs a new pair and writes it at stem.
func (ca *Pair) Issue(stem string, r Request) (*Pair, error) {
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: r.CommonName, Organization: r.Organizations},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, san := range r.SANs {
		if ip := net.ParseIP(san); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, san)
		}
	}
	if len(r.SANs) > 0 {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	return create(stem, t, ca)
}

// create signs template with ca, or with itself when ca is nil.
func create(stem string, template *x509.Certificate, ca *Pair) (*Pair, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	key, err := NewKey(stem + ".key")
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-backdated)
	template.NotAfter = time.Now().Add(lifetime)
	parent, signer := template, key
	if ca != nil {
		parent, signer = ca.Cert, ca.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Pair{Cert: cert, Key: key, Stem: stem}, writePEM(stem+".crt", "CERTIFICATE", der, 0o644)
}

// NewKey makes a private key and writes it to file.
func NewKey(file string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writePEM(file, "EC PRIVATE KEY", der, 0o600)
}

// LoadOrCreateSigningKey makes the key pair that signs service account tokens,
// unless it is there: tokens handed out earlier must stay valid.
func LoadOrCreateSigningKey(keyFile, publicFile string) error {
	if _, err := os.Stat(publicFile); err == nil {
		return nil
	}
	key, err := NewKey(keyFile)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	return writePEM(publicFile, "PUBLIC KEY", der, 0o644)
}

func writePEM(file, kind string, der []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}
