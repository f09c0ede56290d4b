"""The fields of Kubernetes' own workloads and pods that no rule reads, to recognise misspelt ones.

From the OpenAPI of kube-apiserver 1.36 (`/openapi/v3/api/v1`, `apps/v1` and `batch/v1`), of the types that rules read
down to. `tests/control_plane/test_kubernetes_fields.py` compares them with those of the API server that it runs.
"""

from collections.abc import Mapping

from msgspec import Struct

from webhook.core.k8s_types import (
    AzureFileVolumeSource,
    Container,
    CronJob,
    CronJobSpec,
    CSIVolumeSource,
    EnvFromSource,
    EnvVar,
    EnvVarSource,
    HostPathVolumeSource,
    KeyToPath,
    LocalObjectReference,
    ObjectMeta,
    Pod,
    PodOS,
    PodSpec,
    ProjectedVolumeSource,
    SecretRefVolumeSource,
    SecretVolumeSource,
    ServiceAccountTokenProjection,
    Volume,
    VolumeDevice,
    VolumeMount,
    VolumeProjection,
    Workload,
    WorkloadSpec,
)

VERSION = "1.36"
OTHER_FIELDS: Mapping[type[Struct], tuple[str, str]] = {
    Workload: (
        "Deployment StatefulSet DaemonSet ReplicaSet ReplicationController Job JobTemplateSpec",
        "apiVersion kind status",
    ),
    WorkloadSpec: (
        "DeploymentSpec StatefulSetSpec DaemonSetSpec ReplicaSetSpec ReplicationControllerSpec JobSpec",
        ("activeDeadlineSeconds backoffLimit backoffLimitPerIndex completionMode completions managedBy manualSelector "
        "maxFailedIndexes minReadySeconds ordinals parallelism paused persistentVolumeClaimRetentionPolicy "
        "podFailurePolicy podManagementPolicy podReplacementPolicy progressDeadlineSeconds replicas "
        "revisionHistoryLimit selector serviceName strategy successPolicy suspend ttlSecondsAfterFinished "
        "updateStrategy volumeClaimTemplates"),
    ),
    CronJob: ("CronJob", "apiVersion kind status"),
    CronJobSpec: (
        "CronJobSpec",
        ("concurrencyPolicy failedJobsHistoryLimit schedule startingDeadlineSeconds successfulJobsHistoryLimit suspend "
        "timeZone"),
    ),
    Pod: ("Pod PodTemplateSpec", "apiVersion kind status"),
    ObjectMeta: (
        "ObjectMeta",
        ("creationTimestamp deletionGracePeriodSeconds deletionTimestamp finalizers generation managedFields "
        "resourceVersion selfLink"),
    ),
    PodSpec: (
        "PodSpec",
        ("activeDeadlineSeconds affinity dnsConfig dnsPolicy enableServiceLinks hostAliases hostIPC hostNetwork "
        "hostPID hostUsers hostname hostnameOverride imagePullSecrets nodeName overhead preemptionPolicy priority "
        "priorityClassName readinessGates resourceClaims resources restartPolicy runtimeClassName schedulerName "
        "schedulingGates schedulingGroup securityContext setHostnameAsFQDN shareProcessNamespace subdomain "
        "tolerations topologySpreadConstraints"),
    ),
    PodOS: ("PodOS", ""),
    Container: (
        "Container EphemeralContainer",
        ("args command image imagePullPolicy lifecycle livenessProbe ports readinessProbe resizePolicy resources "
        "restartPolicy restartPolicyRules securityContext startupProbe stdin stdinOnce targetContainerName "
        "terminationMessagePath terminationMessagePolicy tty workingDir"),
    ),
    EnvVar: ("EnvVar", "value"),
    EnvVarSource: ("EnvVarSource", "configMapKeyRef fieldRef fileKeyRef resourceFieldRef"),
    EnvFromSource: ("EnvFromSource", "configMapRef prefix"),
    VolumeMount: ("VolumeMount", "mountPropagation readOnly recursiveReadOnly"),
    VolumeDevice: ("VolumeDevice", "name"),
    Volume: (
        "Volume",
        ("awsElasticBlockStore azureDisk configMap downwardAPI emptyDir ephemeral fc flocker gcePersistentDisk gitRepo "
        "glusterfs image nfs persistentVolumeClaim photonPersistentDisk portworxVolume quobyte vsphereVolume"),
    ),
    SecretVolumeSource: ("SecretVolumeSource", "optional"),
    KeyToPath: ("KeyToPath", ""),
    ProjectedVolumeSource: ("ProjectedVolumeSource", "defaultMode"),
    VolumeProjection: ("VolumeProjection", "clusterTrustBundle configMap downwardAPI podCertificate"),
    ServiceAccountTokenProjection: ("ServiceAccountTokenProjection", ""),
    HostPathVolumeSource: ("HostPathVolumeSource", "type"),
    AzureFileVolumeSource: ("AzureFileVolumeSource", "readOnly shareName"),
    CSIVolumeSource: ("CSIVolumeSource", "driver fsType readOnly volumeAttributes"),
    SecretRefVolumeSource: (
        ("CephFSVolumeSource CinderVolumeSource FlexVolumeSource ISCSIVolumeSource RBDVolumeSource ScaleIOVolumeSource "
        "StorageOSVolumeSource"),
        ("chapAuthDiscovery chapAuthSession driver fsType gateway image initiatorName iqn iscsiInterface keyring lun "
        "monitors options path pool portals protectionDomain readOnly secretFile sslEnabled storageMode storagePool "
        "system targetPortal user volumeID volumeName volumeNamespace"),
    ),
    LocalObjectReference: (
        "LocalObjectReference SecretKeySelector SecretEnvSource SecretProjection",
        "items key optional",
    ),
}  # fmt: skip
"""For each type: the names of its schemas, and what these have besides the fields of the type."""
