"""The key pair with which playbooks reach a project's servers: made when first needed, its private half sealed at rest."""

import uuid

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlmodel import Session, select

from cloudmgr.adapters import crypto
from cloudmgr.models import ProjectCredential
from cloudmgr.workflows.runtime import runtime


def public_key(session: Session, project_id: uuid.UUID) -> str:
    """Return the project's public key, making the pair where there is none yet."""
    found = _find(session, project_id)
    if found is None:
        private = Ed25519PrivateKey.generate()
        public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        sealed = _sealer().seal(pem, about=str(project_id))
        found = ProjectCredential(
            project_id=project_id,
            public_key=public.decode() + " cloudmgr",
            sealed_private_key=sealed,
            key_id=sealed.partition(".")[0],
        )
        session.add(found)
        session.flush()
    return found.public_key


def private_key(session: Session, project_id: uuid.UUID) -> str | None:
    """Return the project's private key in OpenSSH form, opened with the installation's key; None where none was made."""
    found = _find(session, project_id)
    return None if found is None else _sealer().unseal(found.sealed_private_key, about=str(project_id)).decode()


def _find(session: Session, project_id: uuid.UUID) -> ProjectCredential | None:
    return session.exec(select(ProjectCredential).where(ProjectCredential.project_id == project_id)).first()


def _sealer() -> crypto.Sealer:
    return crypto.load_key_file(runtime().settings.key_file)
