package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cert-manager/cert-manager/functionmesh-cluster/internal/pki"
)

// components get a client certificate each, so that the API authorizes them as
// it does in any cluster.
var components = []struct {
	name    string
	request pki.Request
}{
	{"admin", pki.Request{CommonName: "admin", Organizations: []string{"system:masters"}}},
	{"kube-controller-manager", pki.Request{CommonName: "system:kube-controller-manager"}},
	{"kube-scheduler", pki.Request{CommonName: "system:kube-scheduler"}},
	{"kube-proxy", pki.Request{CommonName: "system:kube-proxy"}},
	{"coredns", pki.Request{CommonName: "coredns", Organizations: []string{"system:masters"}}},
	{nodeName, pki.Request{CommonName: "system:node:" + nodeName, Organizations: []string{"system:nodes"},
		SANs: []string{nodeName, NodeIP, "127.0.0.1"}}},
}

// makePKI issues everything the cluster needs.  CAs and the token key
// are kept from one start to the next, the rest is recreated.
func (l Layout) makePKI(outside, inside string) error {
	if err := os.MkdirAll(l.path("kubeconfig"), 0o755); err != nil {
		return err
	}
	ca, err := pki.LoadOrCreateCA(l.pki("ca"), "function-mesh-ca")
	if err != nil {
		return err
	}
	frontCA, err := pki.LoadOrCreateCA(l.pki("front-proxy-ca"), "function-mesh-front-proxy-ca")
	if err != nil {
		return err
	}
	if err := pki.LoadOrCreateSigningKey(l.pki("sa.key"), l.pki("sa.pub")); err != nil {
		return err
	}
	if _, err := frontCA.Issue(l.pki("front-proxy-client"), pki.Request{CommonName: "front-proxy-client"}); err != nil {
		return err
	}
	if _, err := ca.Issue(l.pki("apiserver"), pki.Request{CommonName: "kube-apiserver", SANs: []string{
		"127.0.0.1", "localhost", NodeIP, serviceIP, "kubernetes", "kubernetes.default",
		"kubernetes.default.svc", "kubernetes.default.svc." + dnsDomain,
	}}); err != nil {
		return err
	}
	if _, err := ca.Issue(l.pki("apiserver-kubelet-client"), pki.Request{
		CommonName: "kube-apiserver-kubelet-client", Organizations: []string{"system:masters"},
	}); err != nil {
		return err
	}
	for _, c := range components {
		pair, err := ca.Issue(l.pki(c.name), c.request)
		if err != nil {
			return err
		}
		if err := pki.WriteKubeconfig(l.kubeconfig(c.name), inside, ca, pair); err != nil {
			return err
		}
		if c.name != "admin" {
			continue
		}
		if err := pki.WriteKubeconfig(l.InsideKubeconfig(), inside, ca, pair); err != nil {
			return err
		}
		if err := pki.WriteKubeconfig(l.AdminKubeconfig(), outside, ca, pair); err != nil {
			return err
		}
	}
	return nil
}

// endpoints are the API's addresses from the host and from inside.
func (s *State) endpoints() (outside, inside string) {
	outside = url("127.0.0.1", s.APIPort)
	if s.Node {
		return outside, url(NodeIP, s.APIPort)
	}
	return outside, outside
}

// Certs issues a pair from the cluster's CA at stem, with a kubeconfig
// for it beside, and returns the files written.
func Certs(l Layout, stem string, r pki.Request) ([]string, error) {
	state, err := l.loadState()
	if err != nil {
		return nil, err
	}
	ca, err := pki.Load(l.pki("ca"))
	if errors.Is(err, fs.ErrNotExist) || state == nil {
		return nil, fmt.Errorf("no cluster in %s: start one with `cluster up --dir %s`", l.Dir, l.Dir)
	}
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(stem), 0o755); err != nil {
		return nil, err
	}
	pair, err := ca.Issue(stem, r)
	if err != nil {
		return nil, err
	}
	outside, inside := state.endpoints()
	files := []string{pair.CertFile(), pair.KeyFile(), stem + ".kubeconfig"}
	if err := pki.WriteKubeconfig(files[2], outside, ca, pair); err != nil {
		return nil, err
	}
	if state.Node {
		files = append(files, stem+".inside.kubeconfig")
		if err := pki.WriteKubeconfig(files[3], inside, ca, pair); err != nil {
			return nil, err
		}
	}
	return append(files, ca.CertFile()), nil
}
