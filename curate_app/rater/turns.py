"""What a page is told: a turn, which is the state a rater is in with all that is shown there.

Nothing in it tells from which generation a sample is; `progress.t` is the generation that is served to everyone.
"""

from typing import Any

from curate_app.rater.service import Service
from data.records import Progress, Slate
from loop.crowd.journey import TRIES, Place, completion
from loop.crowd.serving import picks_progress, worker_status

POLL_S = 1


def turn_at(service: Service, at: Place) -> dict[str, Any]:
    """The turn of a session at a place."""
    progress = picks_progress(service.store, service.config, at.journey.answered)
    told = {"state": at.state, "worker": worker_status(service.store), "progress": _progress(service, progress, at)}
    return {**told, **_shown(service, at)}


def turn_without(service: Service, state: str) -> dict[str, Any]:
    """The turn of someone who has no session: consent, declined, preview, uninvited, incomplete, elsewhere or full."""
    progress = picks_progress(service.store, service.config)
    told = {"state": state, "worker": worker_status(service.store), "progress": _progress(service, progress)}
    if state == "consent":
        return {**told, "html": service.texts.consent}
    if state == "preview":
        return {**told, "html": service.texts.consent or service.texts.instructions}
    if state == "declined":
        panel = service.config.panel
        return {**told, "completion": panel.completion(panel.withdrew)}
    return told


def _shown(service: Service, at: Place) -> dict[str, Any]:
    """What a state shows beside the progress."""
    texts, journey = service.texts, service.config.journey
    if at.state in ("picking", "practice"):
        practice = {"practice": {"done": at.journey.practised, "total": journey.practice}}
        return {**_slates(service, at.slates), **(practice if at.state == "practice" else {})}
    if at.state in ("waiting", "paused"):
        return {"retry_s": POLL_S}
    if at.state == "consent":
        return {"html": texts.consent}
    if at.state == "instructions":
        return {"html": texts.instructions, "practice": journey.practice}
    if at.state == "question":
        tries_left = TRIES - at.journey.tries
        return {"html": texts.question, "choices": list(journey.choices), "tries_left": tries_left}
    if at.state == "closing":
        return {"html": texts.closing}
    ended = {"completion": completion(service.config, at.journey, at.state)}
    return {"html": texts.thanks, **ended} if at.state == "finished" else ended


def _slates(service: Service, slates: tuple[Slate, ...]) -> dict[str, Any]:
    """The slate in view and `upcoming`, the one after it, for the page to load ahead."""
    current, *upcoming = [_slate(slate) for slate in slates]
    timeout_s = service.config.slates.timeout_s
    limit = {"timeout_s": timeout_s} if timeout_s else {}
    return {**current, "upcoming": upcoming[0] if upcoming else None, **limit}


def _slate(slate: Slate) -> dict[str, Any]:
    items = [
        {"position": item.position, "image": f"/img/{item.image_sha256}.png", "alt": f"Image {item.position + 1}"}
        for item in slate.items
    ]
    return {"slate_id": slate.id, "k": slate.k, "items": items}


def _progress(service: Service, progress: Progress, at: Place | None = None) -> dict[str, Any]:
    told = {"done": progress.done, "total": progress.total, "t": progress.t, "yours": progress.yours}
    picks = service.config.journey.picks
    return {**told, "mine": {"done": at.journey.answered, "total": picks}} if at and picks else told
