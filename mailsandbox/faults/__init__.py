"""Scripted faults, asked by submit, relay and access before they act."""

from mailsandbox.faults.plan import Action, Delay, Drop, Fault, Faults, Respond, action_of

__all__ = ["Action", "Delay", "Drop", "Fault", "Faults", "Respond", "action_of"]
