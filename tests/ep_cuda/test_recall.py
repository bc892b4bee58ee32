"""What a group did is done again only where all that it asked has the same answer."""

import ast
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import runtime_ep_cuda.steps
from runtime.graph import Node, TensorType, Value
from runtime.plugin import Unsupported
from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.recall import Log, Recall
from runtime_ep_cuda.weights import Weights

FLOAT = np.dtype(np.float32)

ASKED = {
    "known": lambda planner, value: planner.known(value),
    "numbers": lambda planner, value: planner.numbers(value),
    "gist": lambda planner, value: planner.gist(value, np.sum),
    "shape": lambda planner, value: planner.shape(value),
    "has": lambda planner, value: planner.has(value),
    "tensor": lambda planner, value: planner.tensor(value),
    "derived": lambda planner, value: planner.derived("twice", value, None),
}
"""Methods whose answers depend on what a plan is made for, or on other groups."""

UNASKED = {
    # what steps make, and what follows from the session and from arguments alone
    "call", "can", "constant", "copy", "define", "define_later", "dense", "launch",
    "new", "order_for", "pretending", "reshape", "result", "storage", "tail", "typed",
    "weight",
    # what programs call
    "plan",
}  # fmt: skip


def setting(outputs=()):
    return SimpleNamespace(
        weights=Weights(), storage={}, outputs=outputs, settled={}, operands={}
    )


def planner(inputs=(), known=(), outputs=()):
    """Return a planner of inputs of 4 floats, and of known integers."""
    return Planner(
        setting(outputs),
        dict.fromkeys(inputs, ((4,), FLOAT)),
        {value: np.array(number) for value, number in dict(known).items()},
    )


def group(name):
    return Group(Node(name))


def test_every_method_of_a_planner_is_one_that_is_noted_or_one_that_need_not_be():
    public = {name for name in vars(Planner) if not name.startswith("_")}
    assert public == ASKED.keys() | UNASKED


@pytest.mark.parametrize("name", ASKED)
def test_what_a_planner_is_asked_is_noted(name):
    value = Value("v")
    one = planner(known={value: 3})
    one.derivations["twice", value] = one.tensor(value)
    one._log = log = Log(0)
    ASKED[name](one, value)
    noted = "known" if name == "numbers" else name
    assert [question[0] for question in log.answers] == [noted]


def test_two_gists_of_a_value_are_two_questions():
    value = Value("v")
    one = planner(known={value: 3})
    one._log = log = Log(0)
    assert (one.gist(value, np.sum), one.gist(value, np.ndim)) == (3, 0)
    assert len(log.answers) == 2


def test_steps_ask_a_planner_by_its_methods_alone():
    folder = Path(runtime_ep_cuda.steps.__file__).parent
    found = {
        item.attr
        for path in folder.glob("*.py")
        for item in ast.walk(ast.parse(path.read_text()))
        if isinstance(item, ast.Attribute)
        and isinstance(item.value, ast.Name)
        and item.value.id == "planner"
    }
    assert found <= ASKED.keys() | UNASKED | {"setting"}


def making(value, flag):
    """Return a step that makes a value where a flag is set."""

    def step(planner, group):
        if planner.numbers(flag) == [1]:
            planner.define(value, planner.copy(planner.tensor(group.results[0])))

    return step


def reading(value, planned):
    """Return a step that makes a value where nobody has, and copies it."""

    def step(planner, group):
        planned.append(group)
        if not planner.has(value):
            planner.define(value, planner.copy(planner.tensor(group.results[0])))
        planner.copy(planner.tensor(value))

    return step


def test_whether_a_value_is_there_decides_whether_a_group_does_the_same_again():
    x, made, flag, planned = Value("x"), Value("made"), Value("flag"), []
    first, second = group("First"), group("Second")
    first.results = second.results = [x]
    walk = [(first, making(made, flag)), (second, reading(made, planned))]
    recall, counts = Recall(), []
    for number in (1, 0, 1, 0):
        one = planner([x], {flag: number})
        one.plan(walk, recall)
        counts.append(len(one.actions))
    assert counts == [2, 2, 2, 2]
    assert planned == [second] * 2


def test_a_question_that_has_no_answer_any_more_is_a_group_planned_anew():
    x, y, flag, planned = Value("x"), Value("y"), Value("flag"), []
    first, second = group("First"), group("Second")
    first.results = [x]

    def step(planner, group):
        planned.append(group)
        if planner.numbers(flag) == [0]:
            return
        planner.copy(planner.tensor(y))

    walk, recall = [(first, making(y, flag)), (second, step)], Recall()
    planner([x], {flag: 1}).plan(walk, recall)
    record = recall._records[second][0]
    record.answers.pop(("known", flag, None))  # so that y is what is asked first
    planner([x], {flag: 0}).plan(walk, recall)
    assert planned == [second] * 2


def test_what_is_made_while_a_record_is_refused_is_told_as_the_readers_work():
    x, y, flag = Value("x"), Value("y"), Value("flag")
    first, second = group("First"), group("Second")
    first.results = [x]

    def later(planner, group):
        source = planner.tensor(x)

        def make(planner):
            planner.define(y, planner.copy(planner.tensor(x)))

        if planner.numbers(flag) == [1]:
            planner.define(y, planner.copy(source))
        else:
            planner.define_later(y, (source.shape, make))

    def step(planner, group):
        planner.copy(planner.tensor(y))

    recall = Recall()
    for number in (1, 0):
        one = planner([x], {flag: number})
        one.plan([(first, later), (second, step)], recall)
    assert [action.group for action in one.actions] == [second, second]


def test_a_result_that_nobody_made_goes_to_the_next_provider():
    maker = Node("Relu", [Value("x")])
    (y,) = maker.outputs
    y.type = TensorType(1, (4,))
    with pytest.raises(Unsupported, match="has not been made") as told:
        planner(outputs=(y,)).plan([], Recall())
    assert told.value.nodes == (maker,)


def test_what_a_step_cannot_plan_goes_to_the_next_provider():
    def step(planner, group):
        raise Unplannable("too odd")

    one = group("First")
    with pytest.raises(Unsupported, match="too odd") as told:
        planner().plan([(one, step)], Recall())
    assert told.value.nodes == (one.anchor,)


def test_what_was_pretended_is_over_where_planning_failed():
    x, y = Value("x"), Value("y")
    y.type = TensorType(1, (4,))
    one = planner([x], {y: 1.0})
    before, other = one.tensor(x), one.tensor(y)
    with (
        pytest.raises(Unplannable),
        one.pretending({x: other}, {y: np.dtype(np.float16)}),
    ):
        raise Unplannable("too odd")
    assert one.tensor(x) is before
    assert one.storage(y) == FLOAT
