// Program cluster is a whole Kubernetes cluster in one static executable: the
// real control plane and node programs, and the commands that start and stop
// them without a container engine around them.  See README.md.
package main

import (
	"os"
	"path/filepath"

	"github.com/cert-manager/cert-manager/functionmesh-cluster/applets"
	"github.com/cert-manager/cert-manager/functionmesh-cluster/internal/cli"
)

// A link to this program named like an applet is that applet; else the first
// argument chooses.
func main() {
	args := os.Args
	if name := filepath.Base(args[0]); applets.Has(name) {
		args = append([]string{name}, args[1:]...)
	} else {
		args = args[1:]
	}
	if len(args) > 0 && applets.Has(args[0]) {
		applets.Run(args)
		return
	}
	os.Exit(cli.Main(args, cli.Applets{Names: applets.Names(), Summary: applets.Summary}))
}
