//go:build !control_plane

package applets

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/logs"
	kubectlcmd "k8s.io/kubectl/pkg/cmd"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
	metricsserver "sigs.k8s.io/metrics-server/cmd/metrics-server/app"
)

// These come with the version in go.mod alone: tests against an older Kubernetes
// run no pods.  Each of the tag's files has the same first line.
func init() {
	setVerbosity = func() { _, _ = logs.GlogSetter(kubectlcmd.GetLogVerbosity(os.Args)) }
	add("kubelet", "runs a node's pods", runKubelet)
	add("kube-proxy", "makes Services reachable on a node", runProxy)
	add("coredns", "the cluster's name server", runCoreDNS)
	add("metrics-server", "resource metrics for kubectl top and autoscalers", runMetricsServer)
	add("kwok", "simulated nodes and pods", runKwok)
	add("kwok-config", "prints the stages to pass to kwok --config", printKwokConfig)
	add("cert-manager-controller", "issues certificates", runCertManagerController)
	add("cert-manager-webhook", "validates cert-manager's resources", runCertManagerWebhook)
	add("cert-manager-cainjector", "puts CA bundles into webhooks and CRDs", runCertManagerCAInjector)
	add("helm", "the Helm command line (a program of its own, beside this one)", runHelm)
}

func runKubelet() { runComponent(kubelet.NewKubeletCommand(context.Background())) }

func runProxy() { runComponent(proxy.NewProxyCommand()) }

func runMetricsServer() {
	logs.InitLogs()
	defer logs.FlushLogs()
	check(metricsserver.NewMetricsServerCommand(genericapiserver.SetupSignalHandler()).Execute())
}

// runHelm replaces this process: Helm v3 keeps its commands in package main, so
// that they cannot be linked in here and are built as a sibling program.
func runHelm() {
	self, err := os.Executable()
	check(err)
	helm := filepath.Join(filepath.Dir(self), "helm")
	if _, err := os.Stat(helm); err != nil {
		check(fmt.Errorf("%w: helm is built beside this program; run hack/cluster/build", err))
	}
	check(syscall.Exec(helm, os.Args, os.Environ()))
}
