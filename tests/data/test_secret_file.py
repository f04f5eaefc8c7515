"""Passwords as hashes, in a file that is its owner's alone."""

import stat
from pathlib import Path

import pytest

from data.secret_file import chosen_password, is_hash, is_password, keep_password, kept_secret, password_hash


def test_a_hash_is_of_its_password_alone_and_salted():
    one, other = password_hash("open sesame"), password_hash("open sesame")
    assert one != other and is_hash(one) and "sesame" not in one
    assert is_password("open sesame", one) and is_password("open sesame", other)
    assert not is_password("open sesame ", one) and not is_password("", one)


@pytest.mark.parametrize("text", ["", "scrypt$", "scrypt$1$2$3$4", "open sesame", "scrypt$a$8$5$c2FsdA==$aGFzaA=="])
def test_what_is_no_hash_is_told_from_one(text: str):
    assert not is_hash(text)


def test_a_chosen_password_stands_beside_the_other_secrets(tmp_path: Path):
    key = kept_secret(tmp_path, "session_key")
    assert chosen_password(tmp_path) is None
    for word in ("first", "second"):
        keep_password(tmp_path, word)
        kept = chosen_password(tmp_path)
        assert kept and is_password(word, kept)
    assert kept_secret(tmp_path, "session_key") == key
    file = tmp_path / "secrets.toml"
    assert "second" not in file.read_text() and stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_password_written_in_place_of_the_hash_is_refused(tmp_path: Path):
    (tmp_path / "secrets.toml").write_text('admin_password_hash = "plain words"\n')
    with pytest.raises(ValueError, match="no hash"):
        chosen_password(tmp_path)
