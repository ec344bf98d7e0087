"""Rules about `operator/deploy/role.yaml`: the rights that MetalK8s gives to the Operator."""

from collections.abc import Iterator

from buildchain.lint import findings, subject, yaml_file

PATH = "operator/deploy/role.yaml"
_API = ("rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io/v1beta1")
_KINDS = ("Role", "ClusterRole")
_MONITORING = (("", "services"), ("monitoring.coreos.com", "servicemonitors"))


def check(of: subject.Subject, crds: list[yaml_file.Object], found: findings.Findings) -> list[yaml_file.Object]:
    """Check the roles; returns those that could be read."""
    if not of.contents.has_file(PATH):
        found.add("role-missing", PATH, "is not there")
        return []
    objects = yaml_file.load(PATH, of.contents.read, "role-yaml", found)
    if objects is None:
        return []
    if not objects:
        found.add("role-empty", PATH, "holds no object")
        return []
    roles = [each for each in objects if _is_role(each, found)]
    seen: set[tuple[str, str]] = set()
    for role in roles:
        _check_role(role, seen, found)
    if roles:
        _check_rights(roles, crds, found)
    return roles


def _is_role(each: yaml_file.Object, found: findings.Findings) -> bool:
    if each.get("kind") in _KINDS:
        return True
    found.add("role-kind", PATH, f"holds a {each.get('kind')}", each.line("kind"))
    return False


def _check_role(role: yaml_file.Object, seen: set[tuple[str, str]], found: findings.Findings) -> None:
    if role.text("apiVersion") not in _API:
        found.add("role-api-version", PATH, f"is {role.get('apiVersion')!r}", role.line("apiVersion"))
    name = role.text("metadata", "name")
    if not name:
        found.add("role-name", PATH, f"a {role.text('kind')} has no name", role.line("metadata"))
    elif (role.text("kind"), name) in seen:
        found.add(
            "role-duplicate", PATH, f"{role.text('kind')} {name} stands there twice", role.line("metadata", "name")
        )
    seen.add((role.text("kind"), name))
    if role.get("metadata", "namespace") is not None:
        message = f"is {role.get('metadata', 'namespace')!r}"
        found.add("role-namespace", PATH, message, role.line("metadata", "namespace"))
    _check_rules(role, found)


def _check_rules(role: yaml_file.Object, found: findings.Findings) -> None:
    if not role.items("rules") and "aggregationRule" not in role.value:
        found.add("role-rules", PATH, f"{role.text('metadata', 'name')} has no rules", role.line("rules"))
    for index, rule in enumerate(role.items("rules")):
        for what in _problems_of_rule(rule):
            found.add("role-rules", PATH, what, role.line("rules", index))
        for key in ("apiGroups", "resources", "verbs"):
            if isinstance(rule, dict) and "*" in _texts(rule.get(key)):
                found.add("role-wildcard", PATH, f"{key} has a star", role.line("rules", index, key))


def _problems_of_rule(rule: object) -> Iterator[str]:
    if not isinstance(rule, dict):
        yield "a rule is not a mapping"
        return
    wanted = ["verbs"] if "nonResourceURLs" in rule else ["apiGroups", "resources", "verbs"]
    for key in wanted:
        value = rule.get(key)
        if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
            yield f"{key} is not a list of texts"


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _check_rights(roles: list[yaml_file.Object], crds: list[yaml_file.Object], found: findings.Findings) -> None:
    rules = [rule for role in roles for rule in role.items("rules") if isinstance(rule, dict)]

    def allows(group: str, resource: str) -> bool:
        return any(
            {group, "*"} & set(_texts(rule.get("apiGroups"))) and {resource, "*"} & set(_texts(rule.get("resources")))
            for rule in rules
        )

    for crd in crds:
        group, plural = crd.text("spec", "group"), crd.text("spec", "names", "plural")
        if not allows(group, plural):
            found.add("role-crd", PATH, f"allows nothing on {plural}.{group}")
    missing = [resource for group, resource in _MONITORING if not allows(group, resource)]
    if missing:
        found.add("role-monitoring", PATH, f"allows nothing on {', '.join(missing)}")
