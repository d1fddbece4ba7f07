package applets

import (
	"os"
	_ "time/tzdata" // CronJobs name time zones, and a test machine may have none

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectlcmd "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// These are in the program of every Kubernetes version.
func init() {
	add("etcd", "the cluster's database", runEtcd)
	add("kube-apiserver", "the Kubernetes API", runAPIServer)
	add("kube-controller-manager", "the built-in controllers", runControllerManager)
	add("kube-scheduler", "assigns pods to nodes", runScheduler)
	add("kubectl", "the Kubernetes command line", runKubectl)
}

func runEtcd() { etcdmain.Main(os.Args) }

func runAPIServer() { runComponent(apiserver.NewAPIServerCommand()) }

func runControllerManager() { runComponent(controllermanager.NewControllerManagerCommand()) }

func runScheduler() { runComponent(scheduler.NewSchedulerCommand()) }

func runComponent(c *cobra.Command) { os.Exit(cli.Run(c)) }

// setVerbosity is what a newer kubectl does first; 1.30 has no such function.
var setVerbosity = func() {}

// runKubectl keeps kubectl's own order of things: the verbosity is wanted before
// the command tree exists, and errors are printed by kubectl's rules.
func runKubectl() {
	setVerbosity()
	if err := cli.RunNoErrOutput(kubectlcmd.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
}
