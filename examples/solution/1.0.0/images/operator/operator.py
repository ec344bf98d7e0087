#!/usr/bin/python3
"""The Operator of Example Solution: keeps one Deployment for each ExampleSolution.

The Deployment runs this same program, which then serves the text of the ExampleSolution over HTTP; a ExampleSolution says which version.
Where the images of each version are, MetalK8s says in the file given as --config:

    repositories:
      1.0.0-dev:
        - endpoint: metalk8s-registry-from-config.invalid/example-solution-1.0.0-dev
          images: ["example-solution-operator:1.0.0-dev"]
"""

import argparse
import http.server
import json
import pathlib
import ssl
import time
import urllib.error
import urllib.request

import yaml

GROUP, VERSION, PLURAL, KIND = "example-solution.example.com", "v1alpha1", "examplesolutions", "ExampleSolution"
IMAGE = "example-solution-operator"
ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
PORT = 8080


def find_image(config, name, version):
    """The full reference of an image of one version of this Solution."""
    for repository in config["repositories"].get(version, ()):
        for image in repository["images"]:
            if image.rpartition(":")[0] == name:
                return f"{repository['endpoint']}/{image}"
    raise LookupError(f"the configuration has no image {name} of version {version}")


def deployment(resource, image):
    """What a resource asks for; it goes when the resource goes."""
    name = resource["metadata"]["name"]
    labels = {"app": "example-solution", "instance": name}
    owner = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "name": name, "uid": resource["metadata"]["uid"]}
    container = {
        "name": "server",
        "image": image,
        "args": ["--serve", resource["spec"]["text"]],
        "ports": [{"containerPort": PORT}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [{**owner, "controller": True}]},
        "spec": {
            "replicas": resource["spec"].get("replicas", 1),
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def reconcile(call, namespace, config):
    """Make the Deployments of a namespace what its resources ask for."""
    deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    listed = call("GET", f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}")
    for resource in listed["items"]:
        name = resource["metadata"]["name"]
        try:
            wanted = deployment(resource, find_image(config, IMAGE, resource["spec"]["version"]))
            call("PATCH", f"{deployments}/{name}", wanted)
        except LookupError as error:
            print(f"{name}: {error}", flush=True)
        except urllib.error.HTTPError as error:
            if error.code != http.HTTPStatus.NOT_FOUND:
                raise
            call("POST", deployments, wanted)


def cluster(server):
    """A function that asks the Kubernetes API."""
    context = ssl.create_default_context(cafile=ACCOUNT / "ca.crt")

    def call(method, path, body=None):
        request = urllib.request.Request(server + path, json.dumps(body).encode() if body else None, method=method)
        request.add_header("Authorization", f"Bearer {(ACCOUNT / 'token').read_text()}")
        request.add_header("Content-Type", f"application/{'merge-patch+' if method == 'PATCH' else ''}json")
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            return json.load(answer)

    return call


def serve(text):
    """Answer every request with a text."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = f"{text}\n".encode()
            self.send_response(http.HTTPStatus.OK)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    http.server.ThreadingHTTPServer(("", PORT), Handler).serve_forever()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=pathlib.Path, help="where the images are; given by MetalK8s")
    parser.add_argument("--serve", metavar="TEXT", help="be the server of one ExampleSolution")
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(arguments.serve)
    if arguments.config is None:
        parser.error("--config or --serve is needed")
    config = yaml.safe_load(arguments.config.read_text())
    call = cluster("https://kubernetes.default.svc")
    while True:
        reconcile(call, (ACCOUNT / "namespace").read_text(), config)
        time.sleep(10)


if __name__ == "__main__":
    main()
