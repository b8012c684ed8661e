"""The Kubernetes engine: each run is a pod of a cluster."""
