#!/bin/sh
# Creates a kind cluster, loads the image $1 into it, also by the name $2, runs the make command that follows with the
# KUBECONFIG of that cluster, and deletes the cluster.
set -eu
image=$1 next=$2 && shift 2
name=tokenguard-test
folder=$(mktemp -d)
trap 'kind delete cluster --name "$name"; rm -rf "$folder"' EXIT
export KUBECONFIG="$folder/kubeconfig"
kind create cluster --name "$name" --config "$(dirname "$0")/cluster.yaml" --wait 3m
docker tag "$image" "$next"
kind load docker-image "$image" "$next" --name "$name"
"$@" KUBECONFIG="$KUBECONFIG"
