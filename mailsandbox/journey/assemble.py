"""Joins the events of one journey into the view that people and tests read: one record per hop, in the path's order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mailsandbox.journey.model import (
    Accepted,
    Attempted,
    Delivered,
    Expanded,
    FirstShown,
    JourneyEvent,
    JourneyId,
    Notified,
    Operated,
    Undelivered,
)
from mailsandbox.message.findings import Finding

WAITING: Final = frozenset({"queued", "deferred"})  # what an operator may still act on


@dataclass(frozen=True, slots=True)
class Shown:
    """A delivered copy and when each protocol first showed it."""

    delivery: Delivered
    first_shown: list[FirstShown]


@dataclass(slots=True)
class Hop:
    """What one site did: how the message came in, what was tried or done to pass it on, what was delivered or told."""

    site: str
    accepted: Accepted | None = None
    attempts: list[Attempted] = field(default_factory=list)
    deliveries: list[Shown] = field(default_factory=list)
    notifications: list[Notified] = field(default_factory=list)
    expansions: list[Expanded] = field(default_factory=list)
    undelivered: list[Undelivered] = field(default_factory=list)
    operations: list[Operated] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Journey:
    """The whole way of one message. `state` is the sum of its recipients: see `_sum`."""

    id: JourneyId
    state: str
    hops: list[Hop]

    @property
    def findings(self) -> list[Finding]:
        """What any gate found, in the path's order; empty for a sender that did everything right."""
        found: list[Finding] = []
        for hop in self.hops:
            if hop.accepted:
                found.extend(hop.accepted.findings)
        return found

    @property
    def deliveries(self) -> list[Delivered]:
        """Every copy that reached a mailbox."""
        return [shown.delivery for hop in self.hops for shown in hop.deliveries]


def assemble(journey_id: JourneyId, events: Sequence[JourneyEvent]) -> Journey:
    """The view of these events. A site that accepted the message twice (a duplicate, a loop) appears twice."""
    hops: list[Hop] = []
    by_queue_id: dict[str, Hop] = {}
    shown = [event for event in events if isinstance(event, FirstShown)]

    def hop_of(site: str) -> Hop:
        for hop in reversed(hops):
            if hop.site == site:
                return hop
        hops.append(Hop(site))
        return hops[-1]

    for event in events:
        match event:
            case Accepted():
                hop = Hop(event.site, accepted=event)
                hops.append(hop)
                by_queue_id[event.queue_id] = hop
            case Attempted():
                (by_queue_id.get(event.queue_id) or hop_of(event.site)).attempts.append(event)
            case Delivered():
                first = [view for view in shown if view.message_id == event.message_id]
                hop_of(event.site).deliveries.append(Shown(event, first))
            case Expanded():
                hop_of(event.site).expansions.append(event)
            case Undelivered():
                (by_queue_id.get(event.queue_id) or hop_of(event.site)).undelivered.append(event)
            case Operated():
                (by_queue_id.get(event.queue_id) or hop_of(event.site)).operations.append(event)
            case Notified():
                hop_of(event.site).notifications.append(event)
            case FirstShown():
                pass
    return Journey(journey_id, _sum(standings(hops)), hops)


def standings(hops: Sequence[Hop]) -> dict[str, str]:
    """What the furthest hop says of each recipient, by forward-path.

    "queued", "deferred" or "held" while it is in a queue; then "relayed", "delivered", "failed" or "removed".
    """
    latest: dict[str, str] = {}
    for hop in hops:
        if hop.accepted:
            latest.update(dict.fromkeys(hop.accepted.envelope.recipients, "queued"))
        for expansion in hop.expansions:
            if expansion.address not in expansion.members:
                latest.pop(expansion.address, None)
            latest.update({member: latest.get(member, "queued") for member in expansion.members})
        for attempt in hop.attempts:
            latest.update({outcome.address: outcome.outcome for outcome in attempt.outcomes})
        latest.update({shown.delivery.recipient: "delivered" for shown in hop.deliveries})
        latest.update({refusal.recipient: "failed" for refusal in hop.undelivered})
        acted = _acted(hop.operations)
        # An attempt that was under way may have passed on all the same what was removed meanwhile.
        latest.update({one: acted[one] for one, standing in latest.items() if standing in WAITING and one in acted})
        for notice in hop.notifications:
            if notice.action in ("failed", "double-bounce"):
                latest.update(dict.fromkeys(notice.recipients, "failed"))
    return latest


def _acted(operations: Sequence[Operated]) -> dict[str, str]:
    """How recipients that wait at a hop stand by what an operator did to them there."""
    standing: dict[str, str] = {}
    for done in operations:
        match done.action:
            case "hold":
                standing.update(dict.fromkeys(done.recipients, "held"))
            case "release":
                standing = {one: what for one, what in standing.items() if what != "held"}
            case "bounce":
                standing.update(dict.fromkeys(done.recipients, "failed"))
            case "remove":
                standing.update(dict.fromkeys(done.recipients, "removed"))
            case _:
                pass
    return standing


def _sum(standing: Mapping[str, str]) -> str:
    """Failed if any recipient failed; else held or queued while any is on its way; else removed if any was."""
    states = set(standing.values())
    for state in ("failed", "held"):
        if state in states:
            return state
    if states & WAITING:
        return "queued"
    return "removed" if "removed" in states else "delivered"
