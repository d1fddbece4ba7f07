//go:build !control_plane

package applets

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	// The plugins a cluster's name server needs.  Linking one registers it; the
	// full set would bring several cloud SDKs.
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

// runCoreDNS names only the linked plugins as directives, so that a Corefile
// with any other one is rejected as unknown instead of being half understood.
// Their order is the one in which a query passes them, and differs from CoreDNS's
// own in one point: template comes late, to answer what no other plugin did.
func runCoreDNS() {
	check(dnsserver.SetDirectives([]string{
		"bind", "ready", "health", "errors", "log", "cache", "hosts", "kubernetes", "template", "forward",
	}))
	coremain.Run()
}
