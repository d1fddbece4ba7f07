//go:build !control_plane

package applets

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/cert-manager/cert-manager/internal/apis/config/shared"
	webhookconfig "github.com/cert-manager/cert-manager/internal/apis/config/webhook"
	"github.com/cert-manager/cert-manager/internal/webhook"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/cert-manager/cert-manager/pkg/controller"
	"github.com/cert-manager/cert-manager/pkg/controller/cainjector"
	logf "github.com/cert-manager/cert-manager/pkg/logs"

	// Controllers and issuers register themselves when linked.  ACME, Vault and
	// Venafi are left out: nothing here could reach such services, and they
	// bring large SDKs.
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/metrics"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	_ "github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	_ "github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
)

// Client limits well above cert-manager's defaults: a test waits for every call.
const (
	clientQPS   = 200
	clientBurst = 400
)

// certManagerOptions are the few settings the three programs share here.  The
// originals' commands are in modules that are not published.
type certManagerOptions struct {
	kubeconfig string
	namespace  string
	port       int
	healthPort int
	dnsNames   []string
}

// ignoreUnknownFlags makes the applets usable as drop-in commands of
// cert-manager's chart, which passes flags of the originals (log level, leader
// election, feature gates) that mean nothing to a single replica.
func ignoreUnknownFlags(fs *flag.FlagSet, args []string) []string {
	var known []string
	for i := 0; i < len(args); i++ {
		name, _, hasValue := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		takesNext := !hasValue && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-")
		if fs.Lookup(name) == nil && name != "help" && name != "h" {
			fmt.Fprintf(os.Stderr, "%s: flag %s ignored\n", fs.Name(), args[i])
			if takesNext {
				i++
			}
			continue
		}
		known = append(known, args[i])
		if takesNext {
			i++
			known = append(known, args[i])
		}
	}
	return known
}

func certManager(healthPort int, run func(context.Context, logr.Logger, certManagerOptions) error) {
	var o certManagerOptions
	fs := flag.NewFlagSet(os.Args[0], flag.ExitOnError)
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `file` (empty: the pod's service account)")
	fs.StringVar(&o.namespace, "cluster-resource-namespace", "cert-manager", "`namespace` of ClusterIssuers' Secrets")
	fs.StringVar(&o.namespace, "dynamic-serving-ca-secret-namespace", "cert-manager", "webhook: `namespace` of its CA Secret")
	fs.Func("dynamic-serving-dns-names", "webhook: comma-separated `names` in its certificate; may be repeated", func(names string) error {
		o.dnsNames = append(o.dnsNames, strings.Split(names, ",")...)
		return nil
	})
	fs.IntVar(&o.port, "secure-port", 10250, "webhook: `port` it listens on")
	fs.IntVar(&o.healthPort, "healthz-port", healthPort, "`port` of its health checks")
	check(fs.Parse(ignoreUnknownFlags(fs, os.Args[1:])))

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	log := klog.Background()
	ctx = logr.NewContext(logf.NewContext(ctx, log), log)
	ctrl.SetLogger(log)
	check(run(ctx, log, o))
}

func runCertManagerController() {
	certManager(9403, func(ctx context.Context, _ logr.Logger, o certManagerOptions) error {
		factory, err := controller.NewContextFactory(ctx, controller.ContextOptions{
			Kubeconfig:         o.kubeconfig,
			KubernetesAPIQPS:   clientQPS,
			KubernetesAPIBurst: clientBurst,
			IssuerOptions:      controller.IssuerOptions{ClusterResourceNamespace: o.namespace},
			CertificateOptions: controller.CertificateOptions{
				CopiedAnnotationPrefixes:                 []string{"*", "-kubectl.kubernetes.io/", "-fluxcd.io/", "-argocd.argoproj.io/"},
				CertificateRequestMinimumBackoffDuration: time.Hour,
				CertificateRequestMaximumBackoffDuration: 32 * time.Hour,
			},
		})
		if err != nil {
			return err
		}
		root, err := factory.Build()
		if err != nil {
			return err
		}
		const workers = 5
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return serveHealth(ctx, o.healthPort) })
		for name, construct := range controller.Known() {
			c, err := construct(factory)
			if err != nil {
				return fmt.Errorf("controller %s: %w", name, err)
			}
			group.Go(func() error { return c.Run(workers, ctx) })
		}
		root.SharedInformerFactory.Start(ctx.Done())
		root.KubeSharedInformerFactory.Start(ctx.Done())
		root.HTTP01ResourceMetadataInformersFactory.Start(ctx.Done())
		return group.Wait()
	})
}

// serveHealth answers the chart's liveness probe for as long as the process can.
func serveHealth(ctx context.Context, port int) error {
	s := &http.Server{
		Addr:              fmt.Sprintf(":%d", port),
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }),
		ReadHeaderTimeout: 10 * time.Second,
	}
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func runCertManagerWebhook() {
	certManager(6080, func(ctx context.Context, log logr.Logger, o certManagerOptions) error {
		s, err := webhook.NewCertManagerWebhookServer(log, webhookconfig.WebhookConfiguration{
			KubeConfig:           o.kubeconfig,
			SecurePort:           int32(o.port),
			HealthzPort:          int32(o.healthPort),
			MetricsListenAddress: "0",
			TLSConfig: shared.TLSConfig{Dynamic: shared.DynamicServingConfig{
				SecretNamespace: o.namespace,
				SecretName:      "cert-manager-webhook-ca",
				DNSNames:        o.dnsNames,
				LeafDuration:    7 * 24 * time.Hour,
			}},
		})
		if err != nil {
			return err
		}
		return s.Run(ctx)
	})
}

func runCertManagerCAInjector() {
	certManager(0, func(ctx context.Context, _ logr.Logger, o certManagerOptions) error {
		rest, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
		if err != nil {
			return err
		}
		rest.QPS, rest.Burst = clientQPS, clientBurst
		rest.UserAgent = "cert-manager-cainjector" // also its name as a field manager
		scheme := runtime.NewScheme()
		for _, add := range []func(*runtime.Scheme) error{
			corev1.AddToScheme, admissionregistrationv1.AddToScheme, apiextensionsv1.AddToScheme,
			apiregistrationv1.AddToScheme, cmapi.AddToScheme,
		} {
			if err := add(scheme); err != nil {
				return err
			}
		}
		manager, err := ctrl.NewManager(rest, ctrl.Options{
			Scheme:  scheme,
			Metrics: server.Options{BindAddress: "0"},
			// Secrets are read directly, as upstream does: caching all of a
			// cluster's Secrets costs memory and permissions.
			Client: client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
		})
		if err != nil {
			return err
		}
		err = cainjector.RegisterAllInjectors(ctx, manager, cainjector.SetupOptions{
			Namespace:                    "",
			EnableCertificatesDataSource: true,
			EnabledReconcilersFor: map[string]bool{
				cainjector.MutatingWebhookConfigurationName:   true,
				cainjector.ValidatingWebhookConfigurationName: true,
				cainjector.APIServiceName:                     true,
				cainjector.CustomResourceDefinitionName:       true,
			},
		})
		if err != nil {
			return err
		}
		return manager.Start(ctx)
	})
}
