package applets

import (
	"context"
	"os"
	_ "time/tzdata" // CronJobs name time zones, and a test machine may have none

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	genericapiserver "k8s.io/apiserver/pkg/server"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectlcmd "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
	metricsserver "sigs.k8s.io/metrics-server/cmd/metrics-server/app"
)

func runEtcd() { etcdmain.Main(os.Args) }

func runAPIServer() { runComponent(apiserver.NewAPIServerCommand()) }

func runControllerManager() { runComponent(controllermanager.NewControllerManagerCommand()) }

func runScheduler() { runComponent(scheduler.NewSchedulerCommand()) }

func runKubelet() { runComponent(kubelet.NewKubeletCommand(context.Background())) }

func runProxy() { runComponent(proxy.NewProxyCommand()) }

func runComponent(c *cobra.Command) { os.Exit(cli.Run(c)) }

// runKubectl keeps kubectl's own order of things: the verbosity is wanted before
// the command tree exists, and errors are printed by kubectl's rules.
func runKubectl() {
	_, _ = logs.GlogSetter(kubectlcmd.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(kubectlcmd.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
}

func runMetricsServer() {
	logs.InitLogs()
	defer logs.FlushLogs()
	check(metricsserver.NewMetricsServerCommand(genericapiserver.SetupSignalHandler()).Execute())
}
