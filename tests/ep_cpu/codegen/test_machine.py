"""Text becomes code; what is wrong with it is an error in LLVM's words."""

import ctypes
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("llvmlite")

from runtime_ep_cpu.codegen.machine import (
    Code,
    assembly,
    compiled,
    function,
    joined,
    parted,
)
from runtime_ep_cpu.codegen.target import host, named, runnable

ADD = "define i64 @plus(i64 %a, i64 %b) {\n  %c = add i64 %a, %b\n  ret i64 %c\n}\n"


@pytest.mark.parametrize("name", runnable())
def test_code_is_loaded_and_called(name):
    code = Code(named(name), compiled(ADD, named(name)))
    parameters = (ctypes.c_int64, ctypes.c_int64)
    plus = function(code.address("plus"), *parameters, returns=ctypes.c_int64)
    assert plus(40, 2) == 42


def test_text_that_is_no_code_is_an_error():
    with pytest.raises(RuntimeError, match="expected"):
        compiled("define nothing", host())


def test_code_that_is_not_well_formed_is_an_error():
    text = "define i64 @f(i64 %a) {\n  %b = add i64 %a, 1\n  ret i64 %c\n}\n"
    with pytest.raises(RuntimeError, match="undefined value"):
        compiled(text, host())


def test_a_function_that_is_not_there_is_an_error():
    code = Code(host(), compiled(ADD, host()))
    with pytest.raises(KeyError, match="minus"):
        code.address("minus")


def test_assembly_can_be_read():
    assert "plus" in assembly(ADD, host())


def test_targets_have_names():
    for name in runnable():
        assert named(name).name == name
    with pytest.raises(ValueError, match="the targets are avx512"):
        named("sse9")


def test_narrow_targets_use_no_wide_instructions():
    text = (
        "define <16 x float> @f(<16 x float> %a) {\n"
        "  %b = fadd <16 x float> %a, %a\n  ret <16 x float> %b\n}\n"
    )
    for target in map(named, runnable()):
        made = assembly(text, target)
        assert ("zmm" in made) <= (target.bits == 512)
        assert ("ymm" in made) <= (target.bits == 256)


def test_threads_compile_side_by_side_and_get_the_same_code():
    texts = [ADD.replace("@plus", f"@plus_{i}") for i in range(16)]
    alone = [compiled(text, host()) for text in texts]
    with ThreadPoolExecutor(4) as workers:
        together = list(workers.map(lambda text: compiled(text, host()), texts))
    assert together == alone


def test_objects_are_kept_and_loaded_as_one():
    objects = [
        compiled(ADD.replace("@plus", name), host()) for name in ("@one", "@two")
    ]
    assert parted(joined(objects)) == objects
    code = Code(host(), *parted(joined(objects)))
    assert code.address("one") != code.address("two")
