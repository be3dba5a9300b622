"""The life of a worker, as a table."""

from __future__ import annotations

import enum
from typing import Final


class State(enum.Enum):
    """Where a worker is."""

    WAITING = "has no process; a timer or a changed source will start one"
    STARTING = "its process loads the app"
    SERVING = "its process accepts connections"
    RETIRING = "its process ends, and another one follows"
    STOPPING = "its process ends, and none follows"
    HURRIED = "the same, with no time for the calls in flight"
    ENDED = "has no process, and never will"


class Event(enum.Enum):
    """What happens to a worker."""

    START = "a new process is wanted, in the place of the one that there is"
    READY = "its process accepts connections"
    EXITED = "its process has ended"
    STOP = "no process is wanted any more"
    HURRY = "nor are its calls in flight"
    OVERDUE = "its process has not ended in time"


class Action(enum.Enum):
    """What is done about it."""

    NOTHING = "nothing"
    SPAWN = "start a process"
    ANNOUNCE = "tell that it serves"
    RECOVER = "find out why it ended, and decide if another one follows"
    TERMINATE = "end a process that has no calls yet"
    DRAIN = "let the calls in flight finish"
    HURRY = "cancel the calls in flight"
    KILL = "kill the process"
    END = "tell that it has ended"


_TABLE: Final = {
    (State.WAITING, Event.START): (Action.SPAWN, State.STARTING),
    (State.WAITING, Event.STOP): (Action.END, State.ENDED),
    (State.STARTING, Event.START): (Action.TERMINATE, State.RETIRING),
    (State.STARTING, Event.READY): (Action.ANNOUNCE, State.SERVING),
    (State.STARTING, Event.EXITED): (Action.RECOVER, State.WAITING),
    (State.STARTING, Event.STOP): (Action.TERMINATE, State.STOPPING),
    (State.SERVING, Event.START): (Action.DRAIN, State.RETIRING),
    (State.SERVING, Event.EXITED): (Action.RECOVER, State.WAITING),
    (State.SERVING, Event.STOP): (Action.DRAIN, State.STOPPING),
    (State.RETIRING, Event.START): (Action.NOTHING, State.RETIRING),
    (State.RETIRING, Event.READY): (Action.NOTHING, State.RETIRING),
    (State.RETIRING, Event.EXITED): (Action.SPAWN, State.STARTING),
    (State.RETIRING, Event.OVERDUE): (Action.KILL, State.RETIRING),
    (State.RETIRING, Event.STOP): (Action.DRAIN, State.STOPPING),
    (State.STOPPING, Event.READY): (Action.NOTHING, State.STOPPING),
    (State.STOPPING, Event.EXITED): (Action.END, State.ENDED),
    (State.STOPPING, Event.STOP): (Action.NOTHING, State.STOPPING),
    (State.STOPPING, Event.HURRY): (Action.HURRY, State.HURRIED),
    (State.STOPPING, Event.OVERDUE): (Action.KILL, State.STOPPING),
    (State.HURRIED, Event.READY): (Action.NOTHING, State.HURRIED),
    (State.HURRIED, Event.EXITED): (Action.END, State.ENDED),
    (State.HURRIED, Event.STOP): (Action.NOTHING, State.HURRIED),
    (State.HURRIED, Event.HURRY): (Action.KILL, State.HURRIED),
    (State.HURRIED, Event.OVERDUE): (Action.KILL, State.HURRIED),
    (State.ENDED, Event.STOP): (Action.NOTHING, State.ENDED),
    (State.ENDED, Event.HURRY): (Action.NOTHING, State.ENDED),
}


class Life:
    """The state of one worker."""

    def __init__(self) -> None:
        self.state: State = State.WAITING

    def feed(self, event: Event) -> Action:
        """Go on to the next state; return what is to be done.

        Raises:
            RuntimeError: for an event that cannot happen in this state.
        """
        try:
            action, self.state = _TABLE[self.state, event]
        except KeyError:
            raise RuntimeError(f"a worker that is {self.state.name} got {event.name}") from None
        return action
