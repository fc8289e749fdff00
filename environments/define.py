"""Create, change and delete projects, repositories, connections, credentials, environments.

Every rule that spans more than one field or row is kept here, for the API and the console
alike. Problems are ValidationErrors keyed by the API's names of the fields. Nothing is removed
from the database: what is deleted gets ``state`` 2, because runs refer to it.
"""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Q, QuerySet

from accounts import audit
from accounts.audited import CHANGED, IS_SET
from accounts.models import Account
from environments import adapters
from environments.models import (
    CloneStrategy,
    Connection,
    Credentials,
    Environment,
    EnvironmentType,
    ExtendedAttributes,
    Kept,
    Project,
    Repository,
)
from jobsvc.engine.addresses import parse_address
from jobsvc.engine.errors import RepositoryAddressRefused
from jobsvc.statuses import State

# Keys beside environments' names where variables are listed, so no environment may have them.
NAMES_OF_VARIABLE_KEYS = {"project", "name", "new_name"}
AnyKept = TypeVar("AnyKept", bound=Kept)

DEFAULT_TARGET = "default"  # of credentials that name none
DEFAULT_THREADS = 4
LARGEST_EXTENDED_ATTRIBUTES = 4096  # bytes, as dbt Cloud has it
# An adapter that is not declared does not say which of its fields are secret.
LOOKS_SECRET = re.compile(r"pass|secret|token|private|credential|api_?key|access_?key")
# dbt Cloud knows these, too; each needs an app at the git host that is not set up here.
UNSUPPORTED_STRATEGIES = {CloneStrategy.AZURE_APP}
# What git hosts want to be told as the user of an access token.
TOKEN_USERS = {"gitlab": "oauth2", "bitbucket": "x-token-auth"}
DEFAULT_TOKEN_USER = "x-access-token"  # noqa: S105 - a user's name, not a secret


# --- Projects ------------------------------------------------------------------------------


def connections_for(project: Project) -> QuerySet[Connection]:
    """The connections that ``project`` may use: the account's, and those that are its alone."""
    own = Q(project=None) | Q(project=project.pk)
    rows: QuerySet[Connection] = project.account.connections.active().filter(own)
    return rows


def define_project(project: Project) -> Project:
    """Save ``project``, new or changed.

    Raises:
        ValidationError: the name is taken, or something it names is not the account's.
    """
    with _one_at_a_time(project.account_id):
        account = project.account
        _check_references(
            project,
            {
                "repository_id": account.repositories.active().filter(
                    Q(project=None) | Q(project=project.pk)
                ),
                "connection_id": connections_for(project),
                "docs_job_id": account.jobs.filter(project=project.pk, state=State.ACTIVE),
                "freshness_job_id": account.jobs.filter(project=project.pk, state=State.ACTIVE),
            },
        )
        _save(project)
    return project


def clone_from(project: Project, remote_url: str, *, password: str | None = None) -> Project:
    """Save ``project``, new or changed, with its code at ``remote_url``; an empty one has none.

    A repository that only this project is cloned from moves to the new address; one that
    others share is left to them.

    Args:
        password: such as an access token's, for https; None keeps what is there.

    Raises:
        ValidationError: as ``define_project`` and ``define_repository`` do.
    """
    with _one_at_a_time(project.account_id):
        here = project.repository
        define_project(project)
        if not remote_url:
            project.repository = None
        elif here is None or here.remote_url != remote_url or password is not None:
            project.repository = define_repository(
                _at_address(project, here, remote_url), password=password
            )
        return define_project(project)


def _at_address(project: Project, here: Repository | None, remote_url: str) -> Repository:
    """The project's repository, else a new one of its own, at ``remote_url``; not yet saved."""
    others = project.account.projects.active().exclude(pk=project.pk)
    if here is None or (here.remote_url != remote_url and others.filter(repository=here).exists()):
        here = Repository(account=project.account, project=project, git_clone_strategy="")
    elif _scheme(here.remote_url) != _scheme(remote_url):
        here.git_clone_strategy = ""  # another way in: a key for ssh, a token for https
    here.remote_url = remote_url
    return here


def _scheme(remote_url: str) -> str:
    scheme, separator, _rest = remote_url.partition("://")
    return scheme if separator else "ssh"


def delete_project(project: Project) -> Project:
    """Mark ``project`` deleted, and with it its environments and jobs. Its runs stay."""
    with _one_at_a_time(project.account_id):
        jobs, environments = project.jobs.filter(state=State.ACTIVE), project.environments.active()
        for row in (*jobs.order_by("pk"), *environments.order_by("pk")):
            row.state = State.DELETED
            row.save(update_fields=["state", "updated_at"])
        return _mark_deleted(project)


# --- Environments --------------------------------------------------------------------------


def define_environment(environment: Environment) -> Environment:
    """Save ``environment``, new or changed.

    Raises:
        ValidationError: the name is taken or reserved, its type is the one that the project
            has already, or something it names is not the project's (a connection: account's).
    """
    project = environment.project
    with _one_at_a_time(project.account_id):
        if environment.name in NAMES_OF_VARIABLE_KEYS:
            raise ValidationError(
                {"name": f"No environment can be called {environment.name!r}. Choose another."}
            )
        _check_references(
            environment,
            {
                "connection_id": connections_for(project),
                "credentials_id": project.credentials.active(),
                "extended_attributes_id": project.extended_attributes.active(),
            },
        )
        _check_credentials_fit(environment)
        if environment.type != EnvironmentType.DEPLOYMENT:
            _refuse_where_jobs_need_it(environment, "type", "stay a deployment environment")
        _save(environment)
    return environment


def give_extended_attributes(environment: Environment, value: dict[str, Any]) -> None:
    """Give ``environment``, saved or not yet, what goes over its profile; nothing takes it away.

    Attributes that other environments have, too, are left to them.

    Raises:
        ValidationError: as ``define_extended_attributes`` does.
    """
    here = environment.extended_attributes
    if not value:
        environment.extended_attributes = None
        return
    if here is not None and here.extended_attributes == value:
        return
    others = here.environments.active().exclude(pk=environment.pk) if here else None
    if here is None or (others is not None and others.exists()):
        here = ExtendedAttributes(account=environment.project.account, project=environment.project)
    here.extended_attributes = value
    environment.extended_attributes = define_extended_attributes(here)


def delete_environment(environment: Environment) -> Environment:
    """Mark ``environment`` deleted.

    Raises:
        ValidationError: active jobs run in it or defer to it; it says which.
    """
    with _one_at_a_time(environment.project.account_id):
        _refuse_where_jobs_need_it(environment, "environment_id", "be kept")
        return _mark_deleted(environment)


def _check_credentials_fit(environment: Environment) -> None:
    credentials, connection = environment.credentials, environment.connection
    if credentials is None or connection is None or credentials.adapter == connection.adapter:
        return
    held, needed = (adapters.ADAPTERS[row.adapter].title for row in (credentials, connection))
    raise ValidationError(
        {
            "credentials_id": f"These credentials are for {held}, but the connection is to "
            f"{needed}. Choose credentials for {needed}."
        }
    )


def _refuse_where_jobs_need_it(environment: Environment, field: str, what: str) -> None:
    if environment.pk is None:
        return
    jobs = environment.account.jobs.filter(
        Q(environment=environment) | Q(deferring_environment=environment), state=State.ACTIVE
    ).order_by("pk")
    if names := list(jobs.values_list("name", flat=True)[:4]):
        listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        raise ValidationError(
            {
                field: f"{environment.name} must {what} while jobs use it ({listed}). Delete "
                "these jobs, or give them another environment, first."
            }
        )


# --- Connections and credentials -----------------------------------------------------------


def define_connection(connection: Connection, config: Mapping[str, Any]) -> Connection:
    """Save ``connection`` with all of ``config``, whose secret fields are kept apart, encrypted.

    Args:
        config: by the API's names; None and "" are the same as not given.

    Raises:
        ValidationError: a field is missing, unknown or malformed, or the server is our own.
    """
    if connection.adapter == "custom":
        config = {**config, "type": adapters.profile_type(connection.adapter_version, config)}
    _take_apart(connection, config, adapters.validate_config, field="config")
    try:
        check_not_our_own_database(connection.adapter, config)
    except ValueError as refused:
        raise ValidationError({"config": str(refused)}) from refused
    with _one_at_a_time(connection.account_id):
        _save(connection)
    return connection


def delete_connection(connection: Connection) -> Connection:
    """Mark ``connection`` deleted.

    Raises:
        ValidationError: an environment or a project uses it.
    """
    with _one_at_a_time(connection.account_id):
        _refuse_where_used(connection, "connection_id", connection.environments.active())
        account = connection.account
        _refuse_where_used(
            connection, "connection_id", account.projects.active().filter(connection=connection)
        )
        return _mark_deleted(connection)


def define_credentials(
    credentials: Credentials, fields: Mapping[str, Any], *, secret: Collection[str] = ()
) -> Credentials:
    """Save ``credentials`` with all of ``fields``, whose secret ones are kept apart, encrypted.

    Args:
        secret: fields to be kept secret beyond those that the adapter says are.

    Raises:
        ValidationError: a field is missing, unknown or malformed.
    """
    validate = adapters.validate_credentials
    _take_apart(credentials, fields, validate, field="credential_details", secret=secret)
    with _one_at_a_time(credentials.account_id):
        _save(credentials)
    return credentials


def give_credentials(
    environment: Environment, credentials: Credentials, fields: Mapping[str, Any]
) -> Environment:
    """Save ``credentials``, new or changed, with all of ``fields``, and sign in with them here.

    Raises:
        ValidationError: as ``define_credentials`` does.
    """
    with _one_at_a_time(environment.project.account_id):
        environment.credentials = define_credentials(credentials, fields)
        return define_environment(environment)


def rotate_credentials(credentials: Credentials, secrets: Mapping[str, str]) -> Credentials:
    """Put ``secrets`` in the place of those that ``credentials`` have; all else stays.

    Raises:
        ValidationError: there are none, or one that they do not have; or as
            ``define_credentials`` does.
    """
    if not secrets:
        raise ValidationError("Give the new value of at least one secret.")
    if unknown := sorted(set(secrets) - set(credentials.secrets)):
        raise ValidationError(
            dict.fromkeys(unknown, "The credentials have no such secret yet. Edit them to add it.")
        )
    fields = {**credentials.config, **credentials.secrets, **secrets}
    with _one_at_a_time(credentials.account_id), audit.as_one("credentials.rotate"):
        audit.record(
            "credentials.rotate",
            credentials,
            account_id=credentials.account_id,
            differences={name: [IS_SET, CHANGED] for name in sorted(secrets)},
        )
        return define_credentials(credentials, fields)


def delete_credentials(credentials: Credentials) -> Credentials:
    """Mark ``credentials`` deleted.

    Raises:
        ValidationError: an environment uses them.
    """
    with _one_at_a_time(credentials.account_id):
        _refuse_where_used(credentials, "credentials_id", credentials.environments.active())
        return _mark_deleted(credentials)


def _take_apart(
    row: Connection | Credentials,
    given: Mapping[str, Any],
    validate: Callable[[str, Mapping[str, Any]], dict[str, str]],
    *,
    field: str,
    secret: Collection[str] = (),
) -> None:
    """Put the fields of ``given`` into ``config`` and ``secrets``, each where it belongs."""
    if row.adapter not in adapters.ADAPTERS:
        raise ValidationError(
            {
                "adapter_version": f"{row.adapter_version!r} is no adapter of this service. "
                f"Choose one of: {', '.join(sorted(adapters.VERSIONS))}."
            }
        )
    if wrong := validate(row.adapter, given):
        raise ValidationError({field: [f"{name}: {sentence}" for name, sentence in wrong.items()]})
    adapter = adapters.ADAPTERS[row.adapter]
    # Once secret, a field stays so.
    hidden = adapter.secret_names() | set(secret) | set(row.secrets)
    if adapter.free:
        hidden |= {name for name in given if LOOKS_SECRET.search(name)}
    numbers = {
        one.name
        for one in (*adapter.config, *adapter.credentials)
        if one.kind in {"port", "number"}
    }
    filled = {
        name: int(value) if name in numbers else value
        for name, value in given.items()
        if value not in (None, "")
    }
    row.config = {name: value for name, value in filled.items() if name not in hidden}
    row.secrets = {name: value for name, value in filled.items() if name in hidden}


def check_not_our_own_database(adapter: str, config: Mapping[str, Any]) -> None:
    """Refuse a warehouse on the very server that holds this service's own data.

    For a connection's fields (``hostname``) and for a finished profile's (``host``) alike.
    ``settings.ALLOW_OWN_DATABASE_SERVER`` turns it off.

    Raises:
        ValueError: with a sentence.
    """
    ours = settings.DATABASES["default"]
    host = str(config.get("hostname") or config.get("host") or "")
    if settings.ALLOW_OWN_DATABASE_SERVER or not host or "postgres" not in ours["ENGINE"]:
        return
    declared = adapters.ADAPTERS.get(adapter)
    port = int(config.get("port") or (declared.port if declared else None) or 0)
    if port != int(ours.get("PORT") or 5432):
        return
    # No host, or a folder, is a socket of this machine.
    own_host = str(ours.get("HOST") or "")
    own_host = "localhost" if not own_host or own_host.startswith("/") else own_host
    if places_of(host) & places_of(own_host):
        raise ValueError(
            f"{host}:{port} is the server that holds this service's own data. Use another "
            "server, or ask your administrator for one."
        )


def places_of(host: str) -> set[str]:
    """Where ``host`` leads: addresses, "this machine" for all of its own, the name itself."""
    name = host.strip("[]").rstrip(".").lower()
    places = {name}
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return places
    for _family, _type, _protocol, _name, address in found:
        place = ipaddress.ip_address(str(address[0]).partition("%")[0])
        mapped = getattr(place, "ipv4_mapped", None)
        places.add("this machine" if _is_ours(mapped or place) else str(mapped or place))
    return places


def _is_ours(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether ``address`` is one of this machine: only to such a one can a socket be bound."""
    if address.is_multicast:
        return False
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return address.is_loopback
    return True


# --- Extended attributes -------------------------------------------------------------------


def define_extended_attributes(attributes: ExtendedAttributes) -> ExtendedAttributes:
    """Save keys that override those of the generated profile.

    Raises:
        ValidationError: not a JSON object, or a larger one than 4096 bytes.
    """
    value = attributes.extended_attributes
    if not isinstance(value, dict):
        raise ValidationError(
            {"extended_attributes": 'Give a JSON object, such as {"sslmode": "require"}.'}
        )
    if len(json.dumps(value).encode()) > LARGEST_EXTENDED_ATTRIBUTES:
        raise ValidationError(
            {
                "extended_attributes": f"They are larger than {LARGEST_EXTENDED_ATTRIBUTES} "
                "bytes. Put fixed values into the connection instead."
            }
        )
    with _one_at_a_time(attributes.account_id):
        _save(attributes)
    return attributes


def delete_extended_attributes(attributes: ExtendedAttributes) -> ExtendedAttributes:
    """Mark them deleted.

    Raises:
        ValidationError: an environment uses them.
    """
    with _one_at_a_time(attributes.account_id):
        _refuse_where_used(attributes, "extended_attributes_id", attributes.environments.active())
        return _mark_deleted(attributes)


# --- Repositories --------------------------------------------------------------------------


def define_repository(
    repository: Repository, *, username: str | None = None, password: str | None = None
) -> Repository:
    """Save ``repository``; a deploy key is made for it where it is read by one and has none.

    Args:
        username, password: for https, such as an access token's; None keeps what is there.

    Raises:
        ValidationError: this service may not clone the address, or not in that way.
    """
    before = Repository.objects.filter(pk=repository.pk).first()
    transport = _check_remote_url(repository)
    if before is not None and _origin(before) != _origin(repository):
        # A token is for the host it was given for; whoever may change the address may not
        # have it sent to a host of their own.
        repository.secrets = {
            name: value
            for name, value in repository.secrets.items()
            if name not in {"username", "password"}
        }
    if not repository.git_clone_strategy:
        repository.git_clone_strategy = (
            CloneStrategy.DEPLOY_KEY if transport == "ssh" else CloneStrategy.GIT_TOKEN
        )
    if repository.git_clone_strategy in UNSUPPORTED_STRATEGIES:
        raise ValidationError(
            {
                "git_clone_strategy": f"{repository.git_clone_strategy} is not set up on this "
                "server. Use deploy_key with an ssh address, or git_token with an https one."
            }
        )
    if repository.git_clone_strategy == CloneStrategy.GITHUB_APP:
        _check_installation(repository)
    if password is not None:
        if transport not in {"https", "http"}:
            raise ValidationError(
                {"git_token": "A token is for an https address. Use one, or a deploy key."}
            )
        user = username or repository.secrets.get("username") or _token_user(repository)
        repository.secrets = {**repository.secrets, "username": user, "password": password}
    elif username is not None:
        repository.secrets = {**repository.secrets, "username": username}
    if repository.git_clone_strategy == CloneStrategy.DEPLOY_KEY and not repository.public_key:
        private, repository.public_key = make_deploy_key()
        repository.secrets = {**repository.secrets, "private_key": private}
    with _one_at_a_time(repository.account_id):
        _save(repository)
    return repository


def delete_repository(repository: Repository) -> Repository:
    """Mark ``repository`` deleted.

    Raises:
        ValidationError: a project is cloned from it.
    """
    with _one_at_a_time(repository.account_id):
        projects = repository.account.projects.active().filter(repository=repository)
        _refuse_where_used(repository, "repository_id", projects)
        return _mark_deleted(repository)


def make_deploy_key() -> tuple[str, str]:
    """A new ed25519 key pair in OpenSSH's form: private, then public."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return private.decode(), f"{public.decode()} jobsvc"


def _check_remote_url(repository: Repository) -> str:
    """Put the address into the form that git will be given; return its transport."""
    try:
        address = parse_address(
            repository.remote_url,
            local_roots=settings.GIT_LOCAL_ROOTS,
            plain_http_hosts=settings.GIT_PLAIN_HTTP_HOSTS,
        )
    except RepositoryAddressRefused as refused:
        raise ValidationError({"remote_url": str(refused)}) from refused
    repository.remote_url = address.url
    return address.transport


def _origin(repository: Repository) -> str:
    return urlsplit(repository.remote_url).netloc.lower()


def _check_installation(repository: Repository) -> None:
    """Refuse an installation of the GitHub App that is not the account's: it opens its owner's
    repositories."""
    at = _origin(repository)
    if at != urlsplit(settings.GITHUB_URL).netloc.lower():
        raise ValidationError(
            {"remote_url": f"The GitHub App reads what is at {settings.GITHUB_URL}, over https."}
        )
    installations = repository.account.github_installations.order_by("login")
    wanted = repository.github_installation_id or 0
    if not installations.filter(installation_id=wanted).exists():
        known = ", ".join(f"{one.installation_id} ({one.login})" for one in installations)
        remedy = f"Choose one of: {known}." if known else "Ask your administrator to register it."
        raise ValidationError(
            {
                "github_installation_id": "This is no installation of the GitHub App that this "
                f"account may use. {remedy}"
            }
        )


def _token_user(repository: Repository) -> str:
    for host, user in TOKEN_USERS.items():
        if host in repository.remote_url:
            return user
    return DEFAULT_TOKEN_USER


# --- What they share -----------------------------------------------------------------------


@contextmanager
def _one_at_a_time(account_id: int) -> Iterator[None]:
    """A transaction in which nobody else changes this account's settings or jobs.

    Jobs are saved under the same lock, so none can begin to use what is being deleted.
    """
    with transaction.atomic():
        Account.objects.select_for_update().get(pk=account_id)
        yield


def _save(row: Kept) -> None:
    row.full_clean()
    row.save()


def _mark_deleted(row: AnyKept) -> AnyKept:
    row.state = State.DELETED
    row.save(update_fields=["state", "updated_at"])
    return row


def _check_references(row: models.Model, allowed: Mapping[str, models.QuerySet[Any]]) -> None:
    """Refuse an id of another account's row in the words of a missing one."""
    wrong = {
        field: f"There is no {field.removesuffix('_id').replace('_', ' ')} {value} to use here. "
        "Check the id."
        for field, rows in allowed.items()
        if (value := getattr(row, field)) is not None and not rows.filter(pk=value).exists()
    }
    if wrong:
        raise ValidationError(wrong)


def _refuse_where_used(row: Kept, field: str, users: models.QuerySet[Any]) -> None:
    if names := [str(user) for user in users.order_by("pk")[:3]]:
        raise ValidationError(
            {field: f"{row} is in use by {', '.join(names)}. Change that first, then delete it."}
        )
