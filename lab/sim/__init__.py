"""The embedded stand-in: a real Kubernetes control plane as processes on loopback, with simulated nodes.

Real: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and with them RBAC, Pod Security,
admission policies, CRDs, encryption at rest, audit and dual-stack Services. Simulated: nodes, pods and
volumes (KWOK), addresses of LoadBalancer Services (`lab.sim.addresses`). Operators do not run, so webhooks
never answer: stacks leave webhook configurations out on sites of kind `sim`.
"""
