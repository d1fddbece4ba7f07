package pki

import (
	"encoding/json"
	"os"
)

// KubeconfigName names the cluster, user and context inside every kubeconfig.
const KubeconfigName = "function-mesh"

// WriteKubeconfig writes a self-contained kubeconfig: with everything inside
// one file, it may be copied away from the cluster's folder.
func WriteKubeconfig(file, server string, ca, client *Pair) error {
	read := func(f string, into *[]byte) error {
		b, err := os.ReadFile(f)
		*into = b
		return err
	}
	var caPEM, certPEM, keyPEM []byte
	for _, f := range []struct {
		file string
		into *[]byte
	}{{ca.CertFile(), &caPEM}, {client.CertFile(), &certPEM}, {client.KeyFile(), &keyPEM}} {
		if err := read(f.file, f.into); err != nil {
			return err
		}
	}
	type object = map[string]any
	// JSON is YAML, and encoding/json writes []byte as the base64 wanted here.
	config, err := json.MarshalIndent(object{
		"apiVersion":      "v1",
		"kind":            "Config",
		"current-context": KubeconfigName,
		"clusters": []object{{"name": KubeconfigName, "cluster": object{
			"server": server, "certificate-authority-data": caPEM,
		}}},
		"users": []object{{"name": KubeconfigName, "user": object{
			"client-certificate-data": certPEM, "client-key-data": keyPEM,
		}}},
		"contexts": []object{{"name": KubeconfigName, "context": object{
			"cluster": KubeconfigName, "user": KubeconfigName,
		}}},
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(config, '\n'), 0o600)
}
