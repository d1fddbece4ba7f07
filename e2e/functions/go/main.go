// A substitute for a function built with Pulsar's Go SDK for functions, which is not available where this project is
// tested. It implements the SDK's command line, "FILE -instance-conf JSON", with Pulsar's Go client, and answers each
// message with a suffix: "-go", or the value of "suffix" in userConfig.
//
// It reads the connection (address, authentication, trusted certificates), the function's identity, its topics or
// pattern, subscription name, type and position, receiver queue, processing guarantee, autoAck, output topic,
// userConfig and metricsPort. Metrics have the names and labels that every Pulsar function has.
//
// It omits the gRPC health port, schemas, log topics, retries and dead letters, timeouts, state, the removal of
// the subscription, the properties of an output message that name its origin, and the metrics of the last minute.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// What the operator writes, as far as it is read here.
type configuration struct {
	PulsarServiceURL               string            `json:"pulsarServiceURL"`
	ClientAuthenticationPlugin     string            `json:"clientAuthenticationPlugin"`
	ClientAuthenticationParameters string            `json:"clientAuthenticationParameters"`
	TLSTrustCertsFilePath          string            `json:"tlsTrustCertsFilePath"`
	TLSAllowInsecureConnection     bool              `json:"tlsAllowInsecureConnection"`
	TLSHostnameVerificationEnable  bool              `json:"tlsHostnameVerificationEnable"`
	InstanceID                     int               `json:"instanceID"`
	ClusterName                    string            `json:"clusterName"`
	Tenant                         string            `json:"tenant"`
	NameSpace                      string            `json:"nameSpace"`
	Name                           string            `json:"name"`
	ProcessingGuarantees           int               `json:"processingGuarantees"`
	AutoAck                        bool              `json:"autoAck"`
	SubscriptionType               int               `json:"subscriptionType"`
	SubscriptionName               string            `json:"subscriptionName"`
	SubscriptionPosition           int               `json:"subscriptionPosition"`
	SourceInputSpecs               map[string]string `json:"sourceInputSpecs"`
	SourceSpecsTopic               string            `json:"sourceSpecsTopic"`
	IsRegexPatternSubscription     bool              `json:"isRegexPatternSubscription"`
	ReceiverQueueSize              int               `json:"receiverQueueSize"`
	SinkSpecsTopic                 string            `json:"sinkSpecsTopic"`
	UserConfig                     string            `json:"userConfig"`
	MetricsPort                    int               `json:"metricsPort"`
}

// Processing guarantees, of which only this one is treated differently.
const atMostOnce = 1

// How process 1 of a container ends that SIGTERM ended, as do the functions in Java and Python.
const terminated = 128 + int(syscall.SIGTERM)

func main() {
	log.SetFlags(log.LstdFlags | log.LUTC)
	text := flag.String("instance-conf", "", "the function's configuration, as JSON")
	flag.Parse()
	var conf configuration
	if err := json.Unmarshal([]byte(*text), &conf); err != nil {
		log.Fatalf("-instance-conf: %v", err)
	}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	if err := run(stop, conf); err != nil {
		log.Fatal(err)
	}
	log.Print("stopped")
	os.Exit(terminated)
}

// run answers messages until stop is done; the one in hand is still finished.
func run(stop context.Context, conf configuration) error {
	user := struct{ Suffix string }{"-go"}
	if conf.UserConfig != "" {
		if err := json.Unmarshal([]byte(conf.UserConfig), &user); err != nil {
			return fmt.Errorf("userConfig: %w", err)
		}
	}
	metrics := newMetrics(conf)
	go metrics.serve(conf.MetricsPort)

	client, err := connect(conf)
	if err != nil {
		return err
	}
	defer client.Close()
	consumer, err := client.Subscribe(consumption(conf))
	if err != nil {
		return err
	}
	defer consumer.Close()
	var producer pulsar.Producer
	if conf.SinkSpecsTopic != "" {
		if producer, err = client.CreateProducer(pulsar.ProducerOptions{Topic: conf.SinkSpecsTopic}); err != nil {
			return err
		}
		defer producer.Close()
	}

	log.Printf("instance %d of %s answers with %q", conf.InstanceID, conf.Name, user.Suffix)
	for {
		message, err := consumer.Receive(stop)
		if errors.Is(err, context.Canceled) {
			return nil
		} else if err != nil {
			return err
		}
		metrics.received.Inc()
		metrics.lastInvocation.SetToCurrentTime()
		start := time.Now()
		if conf.AutoAck && conf.ProcessingGuarantees == atMostOnce {
			if err := consumer.Ack(message); err != nil {
				return err
			}
		}
		answer := append(message.Payload(), user.Suffix...)
		metrics.latency.Observe(float64(time.Since(start).Microseconds()) / 1000)
		if producer != nil {
			output := pulsar.ProducerMessage{Payload: answer, Key: message.Key(), Properties: message.Properties()}
			if _, err := producer.Send(context.Background(), &output); err != nil {
				metrics.systemExceptions.Inc()
				log.Printf("not sent: %v", err)
				consumer.Nack(message)
				continue
			}
		}
		if conf.AutoAck && conf.ProcessingGuarantees != atMostOnce {
			if err := consumer.Ack(message); err != nil {
				return err
			}
		}
		metrics.processed.Inc()
	}
}

func connect(conf configuration) (pulsar.Client, error) {
	options := pulsar.ClientOptions{
		URL:                        conf.PulsarServiceURL,
		TLSTrustCertsFilePath:      conf.TLSTrustCertsFilePath,
		TLSAllowInsecureConnection: conf.TLSAllowInsecureConnection,
		TLSValidateHostname:        conf.TLSHostnameVerificationEnable,
		MetricsRegisterer:          prometheus.NewRegistry(), // the client's own numbers are not a function's
	}
	if plugin := conf.ClientAuthenticationPlugin; plugin != "" {
		authentication, err := pulsar.NewAuthentication(plugin, conf.ClientAuthenticationParameters)
		if err != nil {
			return nil, err
		}
		options.Authentication = authentication
	}
	return pulsar.NewClient(options)
}

func consumption(conf configuration) pulsar.ConsumerOptions {
	options := pulsar.ConsumerOptions{
		SubscriptionName:  cmp.Or(conf.SubscriptionName, conf.fullName()),
		Type:              pulsar.Shared,
		ReceiverQueueSize: conf.ReceiverQueueSize,
	}
	switch conf.SubscriptionType {
	case 1:
		options.Type = pulsar.Failover
	case 2:
		options.Type = pulsar.KeyShared
	}
	if conf.SubscriptionPosition == 1 {
		options.SubscriptionInitialPosition = pulsar.SubscriptionPositionEarliest
	}
	if conf.IsRegexPatternSubscription {
		options.TopicsPattern = conf.SourceSpecsTopic
		return options
	}
	options.Topics = []string{conf.SourceSpecsTopic}
	for topic := range conf.SourceInputSpecs {
		if topic != conf.SourceSpecsTopic {
			options.Topics = append(options.Topics, topic)
		}
	}
	return options
}

func (conf configuration) fullName() string {
	return conf.Tenant + "/" + conf.NameSpace + "/" + conf.Name
}

type metrics struct {
	registry                              *prometheus.Registry
	received, processed, systemExceptions prometheus.Counter
	lastInvocation                        prometheus.Gauge
	latency                               prometheus.Summary
}

func newMetrics(conf configuration) metrics {
	registry := prometheus.NewRegistry()
	labels := prometheus.Labels{
		"tenant": conf.Tenant, "namespace": conf.Tenant + "/" + conf.NameSpace, "name": conf.Name,
		"instance_id": strconv.Itoa(conf.InstanceID), "cluster": conf.ClusterName, "fqfn": conf.fullName(),
	}
	describe := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Name: "pulsar_function_" + name, Help: help, ConstLabels: labels}
	}
	counter := func(name, help string) prometheus.Counter {
		metric := prometheus.NewCounter(prometheus.CounterOpts(describe(name, help)))
		registry.MustRegister(metric)
		return metric
	}
	counter("user_exceptions_total", "Failures of the function, which this one has none of.")
	m := metrics{
		registry:         registry,
		received:         counter("received_total", "Messages received."),
		processed:        counter("processed_successfully_total", "Messages answered."),
		systemExceptions: counter("system_exceptions_total", "Answers that could not be sent."),
		lastInvocation:   prometheus.NewGauge(prometheus.GaugeOpts(describe("last_invocation", "When the last message came."))),
		latency: prometheus.NewSummary(prometheus.SummaryOpts{
			Name: "pulsar_function_process_latency_ms", Help: "Milliseconds to an answer.", ConstLabels: labels,
			Objectives: map[float64]float64{0.5: 0.05, 0.9: 0.01, 0.99: 0.001},
		}),
	}
	registry.MustRegister(m.lastInvocation, m.latency)
	return m
}

// serve gives the metrics at every path, / and /metrics among them.
func (m metrics) serve(port int) {
	log.Fatal(http.ListenAndServe(fmt.Sprintf(":%d", port), promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})))
}
