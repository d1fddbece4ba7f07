{{/* How the controller authenticates to Pulsar to observe message traffic. */}}

{{- define "fm.observer.folder" -}}
/etc/pulsar-access
{{- end }}

{{/* Scheme, host and port of a URL, which is how the controller compares clusters. */}}
{{- define "fm.observer.origin" -}}
{{- $url := urlParse (trimSuffix "/" . | lower) }}
{{- $port := ternary "443" "80" (eq $url.scheme "https") }}
{{- printf "%s://%s" $url.scheme (ternary $url.host (print $url.host ":" $port) (regexMatch ":[0-9]+$" $url.host)) }}
{{- end }}

{{/* Fails unless `url` is one of a web service; `place` names the value. */}}
{{- define "fm.observer.checkUrl" -}}
{{- if not (regexMatch "(?i)^https?://(\\[[0-9A-Fa-f:.]+\\]|[0-9A-Za-z._-]+)(:[0-9]{1,5})?/?$" (toString .url)) }}
{{- fail (print .place ": set it to scheme, host and port, such as https://pulsar.example:8443; credentials belong in a Secret, and each host in an entry of its own") }}
{{- end }}
{{- end }}

{{/* `clusters`, the content of the access file, and `sources`, those of the volume with the file and the credentials, as
     JSON. The folder of an entry is named after its content: while an upgrade replaces pods, an old pod may read the new
     file, and a path must not mean the credential of another cluster then. A missing Secret does not keep the controller
     from starting: the traffic of that cluster is unknown. */}}
{{- define "fm.observer.access" -}}
{{- $clusters := list }}
{{- $sources := list (dict "configMap" (dict "name" "function-mesh-pulsar-access" "items" (list (dict "key" "access.yaml" "path" "access.yaml")))) }}
{{- $seen := dict }}
{{- range $index, $entry := (.Values.observer | default dict).clusters }}
{{- $place := printf "observer.clusters[%d]" $index }}
{{- if not $entry.url }}
{{- fail (print $place ".url: set it to the webServiceURL of the ConfigMap that the components name in spec.pulsar.pulsarConfig") }}
{{- end }}
{{- include "fm.observer.checkUrl" (dict "url" $entry.url "place" (print $place ".url")) }}
{{- $origin := include "fm.observer.origin" $entry.url }}
{{- $isSecure := hasPrefix "https:" $origin }}

{{- /* One entry for each URL and namespace. */}}
{{- $known := get $seen $origin | default list }}
{{- range $namespace := $entry.namespaces | default (list "*") }}
{{- if or (has $namespace $known) (has "*" $known) (and (eq $namespace "*") $known) }}
{{- $all := or (eq $namespace "*") (has "*" $known) }}
{{- fail (printf "%s: an earlier entry for %s is for %s; give each entry of a URL its own namespaces, or remove one" $place $origin (ternary "all namespaces, or this one is" (printf "the namespace %s too" $namespace) $all)) }}
{{- end }}
{{- end }}
{{- $_ := set $seen $origin (concat $known ($entry.namespaces | default (list "*"))) }}

{{- /* One access, and one CA. */}}
{{- $accesses := list }}
{{- range list "tokenSecret" "serviceAccountToken" "tlsSecret" }}{{ if get $entry . }}{{ $accesses = append $accesses . }}{{ end }}{{- end }}
{{- if gt (len $accesses) 1 }}
{{- fail (printf "%s: set only one of tokenSecret, serviceAccountToken and tlsSecret; it has %s" $place (join ", " $accesses)) }}
{{- end }}
{{- if and $entry.caSecret $entry.caConfigMap }}
{{- fail (print $place ": set only one of caSecret and caConfigMap") }}
{{- end }}
{{- if and (not $isSecure) (or $entry.tlsSecret $entry.caSecret $entry.caConfigMap) }}
{{- fail (printf "%s: tlsSecret, caSecret and caConfigMap need TLS; set url to https:// with the port of Pulsar's webServicePortTls" $place) }}
{{- end }}
{{- /* The controller rejects the file too. */}}
{{- $hasToken := or $entry.tokenSecret $entry.serviceAccountToken }}
{{- if and $hasToken (not $isSecure) (not $entry.allowPlainHttp) }}
{{- fail (printf "%s.url: %s would get the token without TLS, where others can read it; use https:// with the port of Pulsar's webServicePortTls, or set allowPlainHttp: true in the entry" $place $entry.url) }}
{{- end }}
{{- range $number, $broker := $entry.brokers }}
{{- $at := printf "%s.brokers[%d]" $place $number }}
{{- include "fm.observer.checkUrl" (dict "url" $broker "place" $at) }}
{{- if and (or $isSecure $hasToken) (not (hasPrefix "https:" (lower $broker))) (not $entry.allowPlainHttp) }}
{{- fail (printf "%s: %s would get the credentials without TLS; use https:// as in url, or set allowPlainHttp: true in the entry" $at $broker) }}
{{- end }}
{{- end }}

{{- $folder := toJson $entry | sha256sum | trunc 12 }}
{{- $path := print (include "fm.observer.folder" $) "/" $folder }}
{{- $cluster := dict "url" (trimSuffix "/" $entry.url) }}
{{- with $entry.namespaces }}{{ $_ := set $cluster "namespaces" . }}{{ end }}
{{- with $entry.brokers }}{{ $_ := set $cluster "brokers" . }}{{ end }}
{{- if $entry.allowPlainHttp }}{{ $_ := set $cluster "allowPlainHttp" true }}{{ end }}
{{- with $entry.tokenSecret }}
{{- $sources = append $sources (dict "secret" (dict "name" .name "optional" true "items" (list (dict "key" (.key | default "token") "path" (print $folder "/token/token"))))) }}
{{- $_ := set $cluster "tokenFile" (print $path "/token/token") }}
{{- end }}
{{- with $entry.serviceAccountToken }}
{{- if regexMatch "kubernetes\\.default(\\.|:|/|$)" .audience }}
{{- fail (printf "%s.serviceAccountToken.audience: %s is the API server's, so Pulsar could act as the operator; choose an audience of its own, and list it in the broker's openIDAllowedAudiences" $place .audience) }}
{{- end }}
{{- $sources = append $sources (dict "serviceAccountToken" (dict "audience" .audience "expirationSeconds" (int (.expirationSeconds | default 3600)) "path" (print $folder "/token/token"))) }}
{{- $_ := set $cluster "tokenFile" (print $path "/token/token") }}
{{- end }}
{{- with $entry.tlsSecret }}
{{- $items := list }}
{{- range list "tls.crt" "tls.key" }}{{ $items = append $items (dict "key" . "path" (print $folder "/tls/" .)) }}{{ end }}
{{- $sources = append $sources (dict "secret" (dict "name" .name "optional" true "items" $items)) }}
{{- $_ := set $cluster "certificateFile" (print $path "/tls/tls.crt") }}
{{- $_ := set $cluster "keyFile" (print $path "/tls/tls.key") }}
{{- end }}
{{- if or $entry.caSecret $entry.caConfigMap }}{{ $_ := set $cluster "caFile" (print $path "/ca/ca.crt") }}{{ end }}
{{- with $entry.caSecret }}
{{- $sources = append $sources (dict "secret" (dict "name" .name "optional" true "items" (list (dict "key" (.key | default "ca.crt") "path" (print $folder "/ca/ca.crt"))))) }}
{{- end }}
{{- with $entry.caConfigMap }}
{{- $sources = append $sources (dict "configMap" (dict "name" .name "optional" true "items" (list (dict "key" (.key | default "ca.crt") "path" (print $folder "/ca/ca.crt"))))) }}
{{- end }}
{{- $clusters = append $clusters $cluster }}
{{- end }}
{{- dict "clusters" $clusters "sources" $sources | toJson }}
{{- end }}

{{/* Whether there is an access file: "true" or empty. */}}
{{- define "fm.observer.hasAccess" -}}
{{- $observer := .Values.observer | default dict }}
{{- if and $observer.enabled $observer.clusters }}true{{ end }}
{{- end }}

{{/* Ports of Pulsar's web services and of the metrics of components' pods, as a JSON list. */}}
{{- define "fm.observer.ports" -}}
{{- $ports := concat (.Values.networkPolicy.pulsarPorts | default list) (list 9094) }}
{{- range (.Values.observer | default dict).clusters }}
{{- range prepend (.brokers | default list) .url }}
{{- $ports = append $ports (include "fm.observer.origin" . | regexFind "[0-9]+$" | int) }}
{{- end }}
{{- end }}
{{- $unique := dict }}
{{- range $ports }}{{ $_ := set $unique (printf "%05d" (int .)) (int .) }}{{ end }}
{{- $sorted := list }}
{{- range keys $unique | sortAlpha }}{{ $sorted = append $sorted (get $unique .) }}{{ end }}
{{- toJson $sorted }}
{{- end }}
