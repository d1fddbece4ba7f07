package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/cert-manager/cert-manager/functionmesh-cluster/internal/pki"
)

// An apiClient makes the handful of calls that starting and judging a cluster
// needs.  (client-go would do, at the price of linking it into every test.)
type apiClient struct {
	server string
	http   *http.Client
}

func (l Layout) apiClient(server string) (*apiClient, error) {
	ca, err := pki.Load(l.pki("ca"))
	if err != nil {
		return nil, err
	}
	admin, err := tls.LoadX509KeyPair(l.pki("admin.crt"), l.pki("admin.key"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	return &apiClient{server: server, http: &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{admin}}},
	}}, nil
}

// get fetches a path; into may be nil when only success matters.
func (a *apiClient) get(path string, into any) error {
	r, err := a.http.Get(a.server + path)
	if err != nil {
		return err
	}
	return readResponse(r, into)
}

// apply makes the object be so (server-side apply).
func (a *apiClient) apply(path, manifest string) error {
	req, err := http.NewRequest(http.MethodPatch, a.server+path+"?fieldManager=cluster&force=true", strings.NewReader(manifest))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/apply-patch+yaml")
	r, err := a.http.Do(req)
	if err != nil {
		return err
	}
	return readResponse(r, nil)
}

// errNoSuchPath is an answer with status 404.
var errNoSuchPath = errors.New("404 Not Found")

func readResponse(r *http.Response, into any) error {
	defer r.Body.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, 8<<20))
	if err != nil {
		return err
	}
	if r.StatusCode == http.StatusNotFound {
		return fmt.Errorf("%w: %.300s", errNoSuchPath, body)
	}
	if r.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %.300s", r.Status, body)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}

// probe asks a component's health check.  Certificates are not verified: the
// components sign their own, and only liveness is asked for.
func probe(url string) error {
	c := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
	}}
	r, err := c.Get(url)
	if err != nil {
		return err
	}
	return readResponse(r, nil)
}

// node is the part of a Node object that is looked at.
type node struct {
	Spec   struct{ PodCIDR string }
	Status struct {
		Conditions []struct {
			Type, Status, Message string
			LastHeartbeatTime     time.Time
		}
	}
}

func (a *apiClient) node() (n node, err error) {
	return n, a.get("/api/v1/nodes/"+nodeName, &n)
}

// readyError also wants the kubelet to have said so at that time or later.
func (n node) readyError(since time.Time) error {
	for _, c := range n.Status.Conditions {
		if c.Type != "Ready" {
			continue
		}
		if c.LastHeartbeatTime.Before(since.Truncate(time.Second)) { // it counts whole seconds
			return fmt.Errorf("node %s was last heard of at %s", nodeName, c.LastHeartbeatTime)
		}
		if c.Status == "True" {
			return nil
		}
		return fmt.Errorf("node %s is not ready: %s", nodeName, c.Message)
	}
	return fmt.Errorf("node %s has no Ready condition yet", nodeName)
}

// eventually repeats check until it succeeds, the limit is over, or the context
// ends (its cause then says why).
func eventually(ctx context.Context, what string, limit time.Duration, check func() error) error {
	end := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: not within %s: %w", what, limit, err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
