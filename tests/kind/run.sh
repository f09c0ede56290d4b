#!/bin/sh
# Creates a kind cluster, loads the image $1 into it, runs the command after it with that cluster's KUBECONFIG, deletes the cluster.
set -eu
image=$1 && shift
name=tokenguard-test
folder=$(mktemp -d)
trap 'kind delete cluster --name "$name"; rm -rf "$folder"' EXIT
export KUBECONFIG="$folder/kubeconfig"
kind create cluster --name "$name" --config "$(dirname "$0")/cluster.yaml" --wait 3m
kind load docker-image "$image" --name "$name"
"$@"
