{{/* Names and labels. Those of upstream's chart are kept, so that an upgrade adopts its objects. */}}

{{- define "fm.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "fm.labels" -}}
{{ include "fm.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "fm.selector" -}}
app.kubernetes.io/name: {{ include "fm.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "fm.controller.selector" -}}
{{ include "fm.selector" . }}
app.kubernetes.io/component: controller-manager
{{- end }}

{{- define "fm.controller.labels" -}}
{{ include "fm.labels" . }}
app.kubernetes.io/component: controller-manager
{{- end }}

{{- define "fm.webhook.selector" -}}
{{ include "fm.selector" . }}
app.kubernetes.io/component: admission-webhook
{{- end }}

{{- define "fm.webhook.labels" -}}
{{ include "fm.labels" . }}
app.kubernetes.io/component: admission-webhook
{{- end }}

{{- define "fm.console.selector" -}}
{{ include "fm.selector" . }}
app.kubernetes.io/component: console
{{- end }}

{{- define "fm.console.labels" -}}
{{ include "fm.labels" . }}
app.kubernetes.io/component: console
{{- end }}

{{/* Names of cluster-scoped objects contain the release's name. */}}
{{- define "fm.clusterName" -}}
{{ .Release.Name }}-function-mesh-controller-manager
{{- end }}

{{/* An image: a digest takes precedence over a tag. */}}
{{- define "fm.image" -}}
{{- if and .digest (not (contains "@" .image)) }}{{ .image }}@{{ .digest }}{{ else }}{{ .image }}{{ end }}
{{- end }}

{{/* Namespace of the cluster-wide BackendConfig: from the values, else the release's namespace, which only administrators
     of the operator may write to. An earlier release, or upstream's, that reads an existing one in `default` keeps that.
     A BackendConfig in `default` without such a release does not count. */}}
{{- define "fm.globalBackendConfigNamespace" -}}
{{- $manager := .Values.controllerManager }}
{{- if $manager.globalBackendConfigNamespace }}{{ $manager.globalBackendConfigNamespace }}
{{- else }}
{{- $place := .Release.Namespace }}
{{- /* lookup fails for a kind whose CRD is not installed. */}}
{{- if and $manager.globalBackendConfig (.Capabilities.APIVersions.Has "compute.functionmesh.io/v1alpha1") }}
{{- $before := lookup "apps/v1" "Deployment" .Release.Namespace "function-mesh-controller-manager" | default dict }}
{{- range ((($before.spec | default dict).template | default dict).spec | default dict).containers }}
{{- $named := has (print "--global-backend-config=" $manager.globalBackendConfig) (.args | default list) }}
{{- if and $named (has "--global-backend-config-namespace=default" (.args | default list)) }}
{{- if lookup "compute.functionmesh.io/v1alpha1" "BackendConfig" "default" $manager.globalBackendConfig }}
{{- $place = "default" }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- $place }}
{{- end }}
{{- end }}

{{/* Namespaces in which no component may run, as a JSON list. */}}
{{- define "fm.protectedNamespaces" -}}
{{- $names := .Values.protectedNamespaces | default list }}
{{- if not .Values.controllerManager.allowComponentsInOwnNamespace }}{{ $names = append $names .Release.Namespace }}{{ end }}
{{- $names | uniq | toJson }}
{{- end }}

{{/* A projected token of the ServiceAccount at the default path, valid for an hour; pods get none automatically. */}}
{{- define "fm.token.volume" -}}
name: token
projected:
  sources:
    - serviceAccountToken: {path: token, expirationSeconds: 3607}
    - configMap:
        name: kube-root-ca.crt
        items: [{key: ca.crt, path: ca.crt}]
    - downwardAPI:
        items:
          - path: namespace
            fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}
{{- end }}

{{- define "fm.token.mount" -}}
{name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}

{{- define "fm.webhook.service" -}}
function-mesh-admission-webhook-service
{{- end }}

{{- define "fm.webhook.certificate" -}}
function-mesh-admission-webhook-server-cert
{{- end }}

{{/* The Secret of the webhook's certificate. A self-signed one must not be in the Secret that cert-manager wrote. */}}
{{- define "fm.webhook.secret" -}}
{{- with .Values.admissionWebhook.certificate }}
{{- if .secretName }}{{ .secretName }}
{{- else if eq .provider "self-signed" }}function-mesh-webhook-own-certificate
{{- else if eq .provider "secret" }}{{ fail "admissionWebhook.certificate.secretName: with provider `secret`, set the name of the Secret of type kubernetes.io/tls with the webhook's certificate" }}
{{- else }}{{ include "fm.webhook.certificate" $ }}
{{- end }}
{{- end }}
{{- end }}

{{- define "fm.webhook.mutating" -}}
{{ .Release.Name }}-mutating-webhook-configuration
{{- end }}

{{- define "fm.webhook.validating" -}}
{{ .Release.Name }}-validating-webhook-configuration
{{- end }}

{{/* Namespace of the mesh of `helm test`: not the release's namespace, which admission excludes. */}}
{{- define "fm.tests.namespace" -}}
{{ .Values.tests.namespace | default (first (.Values.watchedNamespaces | default list)) | default "default" }}
{{- end }}

{{/* The restricted Pod Security Standard. */}}
{{- define "fm.pod.security" -}}
{{- toYaml .Values.podSecurityContext }}
{{- end }}

{{/* Scrape annotations for Prometheus without a ServiceMonitor, and those from the values. */}}
{{- define "fm.annotations" -}}
{{- $scrape := dict "prometheus.io/scrape" "true" "prometheus.io/path" "/metrics" "prometheus.io/port" (toString .port) "prometheus.io/scheme" .scheme }}
{{- mergeOverwrite $scrape .more (.own | default dict) | toYaml }}
{{- end }}

{{- define "fm.container.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Each arena of the allocator keeps the memory of a large object, so fewer arenas bound memory: 60 MiB instead of 196 in
     the attack forty-functions. */}}
{{- define "fm.container.memory" -}}
- {name: MALLOC_ARENA_MAX, value: "2"}
{{- end }}

{{/* The first answer often comes before a program is ready, so it is asked again soon; one that does not answer stays ready
     for a while. */}}
{{- define "fm.container.probes" -}}
livenessProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 20
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 1
  failureThreshold: 15
startupProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 1
  failureThreshold: 30
{{- end }}

{{/* Placement of pods: from the values, else spread over nodes and zones if possible. */}}
{{- define "fm.placement" -}}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .values.affinity }}
affinity:
  {{- toYaml .values.affinity | nindent 2 }}
{{- else }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $.selector | nindent 8 }}
    # Count the pods of each revision separately.
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end }}

