"""Images over HTTP: what an answer tells, and what it doesn't."""

from fastapi.testclient import TestClient

from curate_app.web import app as module
from curate_app.web.app import ImageMiddleware, build_app
from loop.study import Study


def names_of(study: Study) -> list[str]:
    return [row["sha256"] for row in study.store.rows("SELECT sha256 FROM image ORDER BY sha256")]


def test_answers_for_images_of_all_generations_look_alike(make_study, publish_generation):
    study = make_study(generations=2)
    client = TestClient(build_app(study, admin_open=True, password=None))
    seen = set()
    for t in (0, 1):
        name = study.store.value("SELECT image_sha256 FROM sample WHERE t = ? ORDER BY id LIMIT 1", [t])
        answer = client.get(f"/img/{name}.png")
        headers = {key: value for key, value in answer.headers.items() if key != "content-length"}
        seen.add(tuple(sorted(headers.items())))
    assert len(seen) == 1
    assert dict(next(iter(seen))).keys() == {
        "content-type", "cache-control", "x-content-type-options", "content-security-policy",
        "cross-origin-resource-policy",
    }  # fmt: skip


def test_memory_for_images_is_bounded(study: Study, monkeypatch):
    monkeypatch.setattr(module, "CACHED_BYTES", 1_000)
    asked = names_of(study)[:20]
    images = ImageMiddleware(build_app(study, admin_open=True, password=None), study.store)
    client = TestClient(images)
    for name in [*asked, *asked]:
        assert client.get(f"/img/{name}.png").status_code == 200
        assert images._bytes == sum(map(len, images._cache.values())) <= 1_000
    assert images._cache


def test_other_names_and_methods_find_nothing(study: Study):
    client = TestClient(build_app(study, admin_open=True, password=None))
    name = names_of(study)[0]
    assert client.head(f"/img/{name}.png").content == b""
    assert client.post(f"/img/{name}.png").status_code == 405
    for path in (f"{name}.PNG", name, "x.png", f"{name}.png/", "%2e%2e/study.db", f"{'0' * 64}.png"):
        assert client.get(f"/img/{path}").status_code == 404
