"""Recurrent operators: RNN, LSTM and GRU in every direction."""

from __future__ import annotations

from runtime.kernels import KernelTable

from runtime_ep_cpu.ops._recurrence import (
    GRU,
    GRU_LINEAR,
    LSTM,
    LSTM_COUPLED,
    RNN,
    Options,
    recur,
)

table = KernelTable()


@table("RNN", since=1)
def rnn_1(
    x,
    w,
    r,
    b=None,
    sequence_lens=None,
    initial_h=None,
    /,
    *,
    activation_alpha=None,
    activation_beta=None,
    activations=("Tanh", "Tanh"),
    clip=None,
    direction="forward",
    hidden_size=None,
    output_sequence=0,
):
    """RNN of opset 1 to 6: ``output_sequence`` only says whether ``Y`` is wanted."""
    options = Options(
        activation_alpha,
        activation_beta,
        activations,
        clip,
        direction,
        hidden_size,
    )
    return recur(RNN, options, x, w, r, b, sequence_lens, [initial_h])


@table("RNN", since=7)
def rnn_7(
    x,
    w,
    r,
    b=None,
    sequence_lens=None,
    initial_h=None,
    /,
    *,
    activation_alpha=None,
    activation_beta=None,
    activations=("Tanh", "Tanh"),
    clip=None,
    direction="forward",
    hidden_size=None,
):
    """RNN of opset 7 to 13: time is the first axis."""
    options = Options(
        activation_alpha,
        activation_beta,
        activations,
        clip,
        direction,
        hidden_size,
    )
    return recur(RNN, options, x, w, r, b, sequence_lens, [initial_h])


@table("RNN", since=14)
def rnn(
    x,
    w,
    r,
    b=None,
    sequence_lens=None,
    initial_h=None,
    /,
    *,
    activation_alpha=None,
    activation_beta=None,
    activations=("Tanh", "Tanh"),
    clip=None,
    direction="forward",
    hidden_size=None,
    layout=0,
):
    """RNN: ``h = f(x @ w' + h @ r' + b)`` at each step.

    ``x`` is ``(T, B, I)``, ``Y`` ``(T, directions, B, H)`` and states ``(directions, B,
    H)``; with ``layout`` 1 the batch comes first in all of them.
    """
    options = Options(
        activation_alpha,
        activation_beta,
        activations,
        clip,
        direction,
        hidden_size,
        layout,
    )
    return recur(RNN, options, x, w, r, b, sequence_lens, [initial_h])


@table("LSTM", since=1)
def lstm_1(
    x,
    w,
    r,
    b=None,
    sequence_lens=None,
    initial_h=None,
    initial_c=None,
    peepholes=None,
    /,
    *,
    activation_alpha=None,
    activation_beta=None,
    activations=None,
    clip=None,
    direction="forward",
    hidden_size=None,
    input_forget=0,
    output_sequence=0,
):
    """LSTM of opset 1 to 6: ``output_sequence`` only says whether ``Y`` is wanted."""
    options = Options(
        activation_alpha,
        activation_beta,
        activations,
        clip,
        direction,
        hidden_size,
    )
    cell = LSTM_COUPLED if input_forget else LSTM
    initial = [initial_h, initial_c]
    return recur(cell, options, x, w, r, b, sequence_lens, initial, peepholes)


@table("LSTM", since=7)
def lstm_7(
    x,
    w,
    r,
    b=None,
    sequence_lens=None,
    initial_h=None,
    initial_c=None,
    peepholes=None,
    /,
    *,
    activation_alpha=None,
    activation_beta=None,
    activations=None,
    clip=None,
    direction="forward",
    hidden_size=None,
    input_forget=0,
):
    """LSTM of opset 7 to 13: time is the first axis."""
    options = Options(
        activation_alpha,
        activation_beta,
        activations,
        clip,
        direction,
        hidden_size,
    )
    cell = LSTM_COUPLED if input_forget else LSTM
    initial = [initial_h, initial_c]
    return recur(cell, options, x, w, r, b, sequence_lens, initial, peepholes)


@table("LSTM", since=14)
def lstm(
    x,
    w,
    r,
    b=None,
    sequence_lens=None,
    initial_h=None,
    initial_c=None,
    peepholes=None,
    /,
    *,
    activation_alpha=None,
    activation_beta=None,
    activations=None,
    clip=None,
    direction="forward",
    hidden_size=None,
    input_forget=0,
    layout=0,
):
    """LSTM: gates in the order input, output, forget, cell; shapes as in RNN.

    ``input_forget`` makes the forget gate what the input gate leaves.
    """
    options = Options(
        activation_alpha,
        activation_beta,
        activations,
        clip,
        direction,
        hidden_size,
        layout,
    )
    cell = LSTM_COUPLED if input_forget else LSTM
    initial = [initial_h, initial_c]
    return recur(cell, options, x, w, r, b, sequence_lens, initial, peepholes)


@table("GRU", since=1)
def gru_1(
    x,
    w,
    r,
    b=None,
    sequence_lens=None,
    initial_h=None,
    /,
    *,
    activation_alpha=None,
    activation_beta=None,
    activations=None,
    clip=None,
    direction="foward",
    hidden_size=None,
    output_sequence=0,
):
    """GRU of opset 1 and 2, whose schema misspells its default direction."""
    options = Options(
        activation_alpha,
        activation_beta,
        activations,
        clip,
        direction,
        hidden_size,
    )
    return recur(GRU, options, x, w, r, b, sequence_lens, [initial_h])


@table("GRU", since=3)
def gru_3(
    x,
    w,
    r,
    b=None,
    sequence_lens=None,
    initial_h=None,
    /,
    *,
    activation_alpha=None,
    activation_beta=None,
    activations=None,
    clip=None,
    direction="forward",
    hidden_size=None,
    linear_before_reset=0,
    output_sequence=0,
):
    """GRU of opset 3 to 6: ``output_sequence`` only says whether ``Y`` is wanted."""
    options = Options(
        activation_alpha,
        activation_beta,
        activations,
        clip,
        direction,
        hidden_size,
    )
    cell = GRU_LINEAR if linear_before_reset else GRU
    return recur(cell, options, x, w, r, b, sequence_lens, [initial_h])


@table("GRU", since=7)
def gru_7(
    x,
    w,
    r,
    b=None,
    sequence_lens=None,
    initial_h=None,
    /,
    *,
    activation_alpha=None,
    activation_beta=None,
    activations=None,
    clip=None,
    direction="forward",
    hidden_size=None,
    linear_before_reset=0,
):
    """GRU of opset 7 to 13: time is the first axis."""
    options = Options(
        activation_alpha,
        activation_beta,
        activations,
        clip,
        direction,
        hidden_size,
    )
    cell = GRU_LINEAR if linear_before_reset else GRU
    return recur(cell, options, x, w, r, b, sequence_lens, [initial_h])


@table("GRU", since=14)
def gru(
    x,
    w,
    r,
    b=None,
    sequence_lens=None,
    initial_h=None,
    /,
    *,
    activation_alpha=None,
    activation_beta=None,
    activations=None,
    clip=None,
    direction="forward",
    hidden_size=None,
    layout=0,
    linear_before_reset=0,
):
    """GRU: gates in the order update, reset, hidden; shapes as in RNN.

    ``linear_before_reset`` resets the state after its product with the weights.
    """
    options = Options(
        activation_alpha,
        activation_beta,
        activations,
        clip,
        direction,
        hidden_size,
        layout,
    )
    cell = GRU_LINEAR if linear_before_reset else GRU
    return recur(cell, options, x, w, r, b, sequence_lens, [initial_h])
