{{/*
Each template "tokenguard.KIND" applies the values to one object of files/, in place, and prints nothing. It gets
(dict "object" OBJECT "root" $).
*/}}

{{- define "tokenguard.image" -}}
{{- $image := .Values.image -}}
{{- $repository := $image.repository -}}
{{- if $image.registry }}{{ $repository = printf "%s/%s" $image.registry $repository }}{{ end -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $repository $image.digest }}
{{- else -}}
{{ printf "%s:%s" $repository ($image.tag | default .Chart.AppVersion) }}
{{- end -}}
{{- end }}

{{/* The value of --backstop; empty: no backstop. */}}
{{- define "tokenguard.backstop" -}}
{{- .Values.backstop.mode | default (.Values.backstop.availabilityFirst | ternary "vap" "") -}}
{{- end }}

{{/* What is the same for every kind: labels, the namespace, and the namespace of the accounts that a binding names. */}}
{{- define "tokenguard.common" -}}
{{- $metadata := .object.metadata -}}
{{- $labels := dict "app.kubernetes.io/managed-by" .root.Release.Service "app.kubernetes.io/instance" .root.Release.Name -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") -}}
{{- $_ := set $metadata "labels" (mergeOverwrite ($metadata.labels | default dict) $labels) -}}
{{- $namespace := .root.Release.Namespace -}}
{{- if eq ($metadata.namespace | default "") "tokenguard" }}{{ $_ := set $metadata "namespace" $namespace }}{{ end -}}
{{- range .object.subjects }}{{ $_ := set . "namespace" $.root.Release.Namespace }}{{ end -}}
{{- end }}

{{/* What is the same for the pods of every kind; gets (dict "pod" SPEC "root" $). */}}
{{- define "tokenguard.pod" -}}
{{- $values := .root.Values -}}
{{- $pod := .pod -}}
{{- $container := first $pod.containers -}}
{{- $_ := set $container "image" (include "tokenguard.image" .root) -}}
{{- with $values.image.pullPolicy }}{{ $_ := set $container "imagePullPolicy" . }}{{ end -}}
{{- with $values.image.pullSecrets -}}
{{- $secrets := list -}}
{{- range . }}{{ $secrets = append $secrets (dict "name" .) }}{{ end -}}
{{- $_ := set $pod "imagePullSecrets" $secrets -}}
{{- end -}}
{{- range $key := list "nodeSelector" "tolerations" -}}
{{- with index $values $key }}{{ $_ := set $pod $key . }}{{ end -}}
{{- end -}}
{{- if $values.openshift -}}
{{- range $key := list "runAsUser" "runAsGroup" "fsGroup" }}{{ $_ := unset $pod.securityContext $key }}{{ end -}}
{{- end -}}
{{- end }}

{{- define "tokenguard.CronJob" -}}
{{- $_ := set .object.spec "schedule" .root.Values.backgroundScan.schedule -}}
{{- include "tokenguard.pod" (dict "pod" .object.spec.jobTemplate.spec.template.spec "root" .root) -}}
{{- end }}

{{- define "tokenguard.Deployment" -}}
{{- $values := .root.Values -}}
{{- $template := .object.spec.template -}}
{{- $pod := $template.spec -}}
{{- $container := first $pod.containers -}}
{{- include "tokenguard.pod" (dict "pod" $pod "root" .root) -}}
{{- if not $values.autoscaling.enabled }}{{ $_ := set .object.spec "replicas" $values.replicas }}{{ end -}}
{{- $env := list -}}
{{- range $container.env -}}
{{- if or $values.probe.enabled (ne .name "TOKENGUARD_PROBE_NAMESPACE") }}{{ $env = append $env . }}{{ end -}}
{{- end -}}
{{- if not $values.podEvents }}{{ $env = append $env (dict "name" "TOKENGUARD_POD_EVENTS" "value" "false") }}{{ end -}}
{{- if $values.backstop.availabilityFirst }}{{ $env = append $env (dict "name" "TOKENGUARD_UNPATCHED_PODS" "value" "allow") }}{{ end -}}
{{- with include "tokenguard.backstop" .root }}{{ $env = append $env (dict "name" "TOKENGUARD_BACKSTOP" "value" .) }}{{ end -}}
{{- $_ := set $container "env" (concat $env $values.extraEnv) -}}
{{- $_ := set $container "args" (concat $container.args $values.extraArgs) -}}
{{- $_ := set $container "resources" (mergeOverwrite $container.resources $values.resources) -}}
{{- with $values.affinity }}{{ $_ := set $pod "affinity" . }}{{ end -}}
{{- $_ := set $pod "priorityClassName" $values.priorityClass.name -}}
{{- with $values.podAnnotations -}}
{{- $_ := set $template.metadata "annotations" (mergeOverwrite ($template.metadata.annotations | default dict) .) -}}
{{- end -}}
{{- with $values.podLabels -}}
{{- $_ := set $template.metadata "labels" (mergeOverwrite (deepCopy .) $template.metadata.labels) -}}
{{- end -}}
{{- end }}

{{- define "tokenguard.HorizontalPodAutoscaler" -}}
{{- $values := .root.Values.autoscaling -}}
{{- $_ := set .object.spec "minReplicas" $values.minReplicas -}}
{{- $_ := set .object.spec "maxReplicas" $values.maxReplicas -}}
{{- $target := (first .object.spec.metrics).resource.target -}}
{{- $_ := set $target "averageUtilization" $values.targetCPUUtilizationPercentage -}}
{{- end }}

{{- define "tokenguard.ConfigMap" -}}
{{- $policy := .root.Values.policy -}}
{{- if and $policy (eq .object.metadata.name "token-policy") -}}
{{- $document := mergeOverwrite (dict "apiVersion" "tokenguard/v1" "kind" "TokenPolicy") $policy -}}
{{- $_ := set .object.data "policy.yaml" (printf "%s\n" (toYaml $document)) -}}
{{- end -}}
{{- if eq .object.metadata.name "tokenguard-scan" -}}
{{- $_ := set .object.data "max-age-seconds" (.root.Values.backgroundScan.maxAgeSeconds | int | toString) -}}
{{- end -}}
{{- end }}

{{- define "tokenguard.NetworkPolicy" -}}
{{- $values := .root.Values.networkPolicy.apiServer -}}
{{- $rule := first .object.spec.egress -}}
{{- $ports := list -}}
{{- range $values.ports }}{{ $ports = append $ports (dict "protocol" "TCP" "port" .) }}{{ end -}}
{{- $_ := set $rule "ports" $ports -}}
{{- with $values.cidrs -}}
{{- $to := list -}}
{{- range . }}{{ $to = append $to (dict "ipBlock" (dict "cidr" .)) }}{{ end -}}
{{- $_ := set $rule "to" $to -}}
{{- end -}}
{{- end }}

{{- define "tokenguard.WebhookConfiguration" -}}
{{- $values := .root.Values -}}
{{- $namespace := .root.Release.Namespace -}}
{{- with .object.metadata.annotations -}}
{{- $_ := set . "cert-manager.io/inject-ca-from" (printf "%s/tokenguard" $namespace) -}}
{{- end -}}
{{- with $values.webhooks.namespaceOptOutLabel -}}
{{- $annotations := $.object.metadata.annotations | default dict -}}
{{- $_ := set $.object.metadata "annotations" (set $annotations "tokenguard/namespace-opt-out-label" .) -}}
{{- end -}}
{{- range $webhook := .object.webhooks -}}
{{- $_ := set $webhook.clientConfig.service "namespace" $namespace -}}
{{- with $values.certificates.caBundle }}{{ $_ := set $webhook.clientConfig "caBundle" (b64enc .) }}{{ end -}}
{{- $name := $webhook.name | trimSuffix ".tokenguard.svc" | replace "." "-" -}}
{{- if and $values.backstop.availabilityFirst (hasPrefix "pods-" $name) -}}
{{- $_ := set $webhook "failurePolicy" "Ignore" -}}
{{- $_ := set $webhook "timeoutSeconds" 2 -}}
{{- end -}}
{{- with $values.webhooks.timeoutSeconds }}{{ $_ := set $webhook "timeoutSeconds" . }}{{ end -}}
{{- with index $values.webhooks.failurePolicy $name }}{{ $_ := set $webhook "failurePolicy" . }}{{ end -}}
{{- $selector := first $webhook.namespaceSelector.matchExpressions -}}
{{- $names := list -}}
{{- range $selector.values }}{{ $names = append $names (eq . "tokenguard" | ternary $namespace .) }}{{ end -}}
{{- if eq $selector.operator "NotIn" -}}
{{- $names = concat $names $values.webhooks.excludeNamespaces | uniq -}}
{{- with $values.webhooks.namespaceOptOutLabel -}}
{{- $optOut := dict "key" . "operator" "DoesNotExist" -}}
{{- $_ := set $webhook.namespaceSelector "matchExpressions" (append $webhook.namespaceSelector.matchExpressions $optOut) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $selector "values" $names -}}
{{- end -}}
{{- end }}

{{- define "tokenguard.Certificate" -}}
{{- $names := list -}}
{{- range .object.spec.dnsNames -}}
{{- $names = append $names (. | replace "tokenguard.tokenguard.svc" (printf "tokenguard.%s.svc" $.root.Release.Namespace)) -}}
{{- end -}}
{{- if $names }}{{ $_ := set .object.spec "dnsNames" $names }}{{ end -}}
{{- end }}

{{- define "tokenguard.FlowSchema" -}}
{{- range .object.spec.rules -}}
{{- range .subjects }}{{ $_ := set .serviceAccount "namespace" $.root.Release.Namespace }}{{ end -}}
{{- end -}}
{{- end }}

{{- define "tokenguard.PrometheusRule" -}}
{{- $base := .root.Values.monitoring.runbookBaseUrl -}}
{{- range .object.spec.groups -}}
{{- range .rules }}{{ $_ := set .annotations "runbook_url" (printf "%s%s" $base .annotations.runbook_url) }}{{ end -}}
{{- end -}}
{{- end }}

{{- define "tokenguard.ServiceMonitor" -}}
{{- range .object.spec.endpoints -}}
{{- $_ := set .tlsConfig "serverName" (printf "tokenguard.%s.svc" $.root.Release.Namespace) -}}
{{- end -}}
{{- end }}

{{/* "true" for an object that the values leave out. */}}
{{- define "tokenguard.isLeftOut" -}}
{{- $values := .root.Values -}}
{{- $kind := .object.kind -}}
{{- if or
  (and (eq $kind "Namespace") (eq .object.metadata.name "tokenguard"))
  (and (hasSuffix "WebhookConfiguration" $kind) (not $values.webhooks.enabled))
  (and (eq $kind "HorizontalPodAutoscaler") (not $values.autoscaling.enabled))
  (and (eq $kind "PriorityClass") (not $values.priorityClass.create))
  (and (eq $kind "NetworkPolicy") (not $values.networkPolicy.enabled))
  (and (eq $kind "ServiceMonitor") (not $values.monitoring.serviceMonitor))
  (and (eq $kind "PrometheusRule") (not $values.monitoring.alerts))
  (and (eq .object.metadata.name "tokenguard-dashboard") (not $values.monitoring.dashboard))
-}}true{{- end -}}
{{- end }}

{{/* Renders the objects of files/NAME.yaml; gets (dict "name" NAME "root" $). */}}
{{- define "tokenguard.objects" -}}
{{- $root := .root -}}
{{- range $text := splitList "\n---\n" ($root.Files.Get (printf "files/%s.yaml" .name)) -}}
{{- $object := fromYaml $text -}}
{{- $context := dict "object" $object "root" $root -}}
{{- if not (include "tokenguard.isLeftOut" $context) -}}
{{- $kind := $object.kind -}}
{{- if hasSuffix "WebhookConfiguration" $kind }}{{ $kind = "WebhookConfiguration" }}{{ end -}}
{{- include "tokenguard.common" $context -}}
{{- if has $kind (list "Deployment" "CronJob" "HorizontalPodAutoscaler" "ConfigMap" "NetworkPolicy" "WebhookConfiguration" "Certificate" "ServiceMonitor" "PrometheusRule" "FlowSchema") -}}
{{- include (printf "tokenguard.%s" $kind) $context -}}
{{- end -}}
{{- if and (eq $kind "PriorityClass") -}}{{- $_ := set $object.metadata "name" $root.Values.priorityClass.name -}}{{- end -}}
{{- if has $kind (list "ServiceMonitor" "PrometheusRule") -}}
{{- $_ := set $object.metadata "labels" (mergeOverwrite $object.metadata.labels $root.Values.monitoring.labels) -}}
{{- end }}
---
{{ toYaml $object }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The labels of what 'helm test' creates. Not app.kubernetes.io/name: tokenguard, by which the Service selects pods. */}}
{{- define "tokenguard.testLabels" -}}
app.kubernetes.io/name: tokenguard-test
app.kubernetes.io/part-of: tokenguard
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}
