"""Promises about examples/: the schemas of Docker Compose and Kubernetes themselves accept every file there.

Run by `make test`, with the packages of requirements.txt beside this file.
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
COMPOSE = EXAMPLES / "docker-compose.yaml"
KUBERNETES = sorted((EXAMPLES / "kubernetes").glob("*.yaml"))
# The oldest that has all that the examples use, and the newest that the package knows.
VERSIONS = ["1.30", "1.37"]


def run(tool, *arguments):
    """Runs a tool of this Python's environment; whether it accepted the file, and what it said."""
    command = [pathlib.Path(sys.executable).parent / tool, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def check_compose(file):
    """Checks a Compose file against the compose-spec."""
    return run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", file)


def check_kubernetes(file, version):
    """Checks every document of a manifest; a key that Kubernetes does not know is a mistake too."""
    return run("kubernetes-validate", "--strict", "--kubernetes-version", version, file)


class Examples(unittest.TestCase):
    """What `docker compose` and `kubectl` would say of the examples."""

    def test_the_compose_file_is_right(self):
        right, said = check_compose(COMPOSE)
        self.assertTrue(right, said)

    def test_every_manifest_is_right(self):
        self.assertEqual(["service.yaml", "sidecar.yaml"], [file.name for file in KUBERNETES])
        for file in KUBERNETES:
            for version in VERSIONS:
                right, said = check_kubernetes(file, version)
                self.assertTrue(right, f"Kubernetes {version}: {said}")

    def test_a_misspelt_key_is_found(self):
        mistakes = [
            (COMPOSE, "    volumes:", check_compose),
            (KUBERNETES[0], "      securityContext:", lambda file: check_kubernetes(file, VERSIONS[0])),
            (KUBERNETES[1], "          restartPolicy:", lambda file: check_kubernetes(file, VERSIONS[1])),
        ]
        for file, key, check in mistakes:
            with tempfile.TemporaryDirectory() as directory:
                text = file.read_text()
                self.assertIn(f"\n{key}", text)
                wrong = pathlib.Path(directory) / file.name
                wrong.write_text(text.replace(f"\n{key}", f"\n{key[:-2]}{key[-1]}"))
                right, said = check(wrong)
                self.assertFalse(right, f"{file.name} without a letter of {key.strip()} was accepted: {said}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
