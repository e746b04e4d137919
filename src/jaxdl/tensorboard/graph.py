"""The graph of a Linen model for TensorBoard's tab GRAPHS, from its jaxpr.

Every equation is a node in the scope of the module that made it; the node's inputs are the
equations, parameters and inputs that it reads. TensorBoard draws a scope as a box that opens and
writes shapes on the edges; dtype and settings stand in a node's card.
"""

import inspect
import re
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.extend.core as jex

from jaxdl import tree
from jaxdl.tensorboard.writer import Writer, write_event
from jaxdl.types import PyTree

MAX_SETTING = 200  # characters of a setting that is worth reading
# The source of a value: a node's name, "name:1" for its second output; None is a literal number.
Source = str | None
Params = Mapping[str, Any]  # of an equation
Avals = Sequence[Any]  # abstract values, with shape and dtype


def write_graph(
    writer: Writer, model: nn.Module, variables: PyTree, *inputs: PyTree, **options: PyTree
) -> None:
    """Writes the graph of a model; a run folder shows one.

    :func:`jaxdl.tensorboard.graph.model_graph` says what its nodes and scopes are.

    Args:
        writer: from :func:`~jaxdl.tensorboard.open_writer`.
        model: Linen module.
        variables: its variables; arrays or ``jax.ShapeDtypeStruct``. Nothing is computed.
        *inputs: of the model's call, likewise.
        **options: keyword arguments of ``model.apply``.

    Source: ``SummaryWriter.add_graph(model, input_to_model)``.
    """
    graph = model_graph(model, variables, *inputs, **options)
    write_event(writer, graph_def=graph.SerializeToString())


def model_graph(model: nn.Module, variables: PyTree, *inputs: PyTree, **options: PyTree) -> Any:
    """The graph of a model as a ``GraphDef`` message.

    - Scopes are the modules, ``layer1_0/conv1``; the model's own is left out, so that its layers
      are seen first.
    - A variable is a node in its module's scope: op ``Parameter`` for ``params``, else the name of
      its collection. Inputs are called like the call's arguments, outputs ``output``.
    - A function that is jitted inside, ``nn.relu``, is a node, or a scope where it is more than one
      equation. The body of a loop stands there once.
    - What no output needs is left out; so are literal numbers.

    Args:
        model: Linen module.
        variables: its variables, ``{"params": …, "batch_stats": …}``; arrays or
            ``jax.ShapeDtypeStruct``, as ``jax.eval_shape(model.init, key, x)`` returns them.
        *inputs: of the model's call, likewise.
        **options: keyword arguments of ``model.apply``: ``train=False``; with
            ``mutable=["intermediates"]`` what the model sows are outputs, too.

    Returns:
        ``tensorboardX.proto.graph_pb2.GraphDef``.

    >>> x = jax.ShapeDtypeStruct((1, 4), "float32")
    >>> model = nn.Sequential([nn.Dense(3), nn.relu])
    >>> graph = model_graph(model, jax.eval_shape(model.init, jax.random.key(0), x), x)
    >>> [node.name for node in graph.node if "/" not in node.name]  # else inside of a layer
    ['input', 'relu', 'output']
    """

    def apply(variables: PyTree, *inputs: PyTree) -> dict[str, PyTree]:
        output = model.apply(variables, *inputs, **options)
        if not options.get("mutable"):
            return {"output": output}
        output, state = output
        return {"output": output, **state}

    with nn.override_named_call(True):
        closed, outputs = jax.make_jaxpr(apply, return_shape=True)(variables, *inputs)
    leaves, _ = jax.tree_util.tree_flatten_with_path((variables, *inputs))
    names = _argument_names(model, options.get("method"), len(inputs))
    places = [_place(path, names) for path, _ in leaves]
    paths = [tuple(path) for op, *path in places if op != "Input"]
    graph = _Graph({path[:depth] for path in paths for depth in range(1, len(path))})
    sources = []
    for (op, *path, name), variable in zip(places, closed.jaxpr.invars, strict=True):
        sources += graph.add(tuple(path), name, op, [], [variable.aval])
    root = _Scope((), model.name or type(model).__name__, is_root=True)
    sources = graph.walk(closed, sources, root)
    for (name, leaf), source in zip(tree.named_leaves(outputs).items(), sources, strict=True):
        if not name.startswith("output"):
            name = name.removesuffix("/0")  # Linen keeps a tuple of what is sown under a name
        *path, name = name.split("/")
        graph.add(tuple(path), name, "Output", [source], [leaf])
    return graph.to_message()


class _Scope(NamedTuple):
    """The place of an equation: its path in the graph, and the module it belongs to."""

    path: tuple[str, ...]
    module: str
    is_root: bool = False

    def enter(self, equation: jex.JaxprEqn) -> "_Scope":
        """The scope of an equation, whose name stack says what modules made it."""
        path, module, is_root = self
        for entry in equation.source_info.name_stack.stack:
            if type(entry).__name__ == "Transform":  # vmap, jvp: no module
                continue
            name, _, method = entry.name.partition(".")
            if is_root and name == module:
                is_root = False
            elif not method or name != module:  # "VAE.encode" inside of VAE is VAE still
                path, module = (*path, name), name
        return _Scope(path, module)

    def below(self, name: str) -> "_Scope":
        return self._replace(path=(*self.path, name), is_root=False)


class _Graph:
    """Nodes by name, in the order of computation.

    Attributes:
        nodes: the messages by name.
        modules: paths of the modules that have variables.
        boxes: by the path of a scope, the name of the box that it is drawn in.
        previous: path of the last node's scope.
    """

    def __init__(self, modules: set[tuple[str, ...]]) -> None:
        self.nodes: dict[str, Any] = {}
        self.modules = modules
        self.boxes: dict[tuple[str, ...], str] = {(): ""}
        self.previous: tuple[str, ...] = ()
        self._taken = {"/".join(path) for path in modules}

    def box(self, path: tuple[str, ...]) -> str:
        """The name of the box of a scope.

        A scope that is entered again is a new box, unless it is a module with variables: else all
        calls of one function would share a box, and edges would run through it in circles.
        """
        shared = 0
        while path[: shared + 1] == self.previous[: shared + 1] and shared < len(path):
            shared += 1
        for depth in range(shared, len(path)):
            name = "/".join(filter(None, (self.boxes[path[:depth]], path[depth])))
            if path[: depth + 1] not in self.modules:
                name = _unique(name, self._taken)
                self._taken.add(name)
            self.boxes[path[: depth + 1]] = name
        self.previous = path
        return self.boxes[path]

    def group(self, scope: _Scope, name: str) -> _Scope:
        """A new scope, drawn as one box, for a function or a loop."""
        self.box(scope.path)  # what follows is not in the box before, though that has its name
        return scope.below(name)

    def add(
        self,
        path: tuple[str, ...],
        name: str,
        op: str,
        sources: Sequence[Source],
        avals: Avals,
        settings: Mapping[str, object] | None = None,
    ) -> list[Source]:
        """Adds a node to the scope of a path and returns its outputs."""
        from tensorboardX.proto.attr_value_pb2 import AttrValue
        from tensorboardX.proto.node_def_pb2 import NodeDef

        name = "/".join(filter(None, (self.box(path), name)))
        name = _unique(re.sub(r"[^\w./-]", "_", name), self.nodes)
        node = NodeDef(name=name, op=op, input=[source for source in sources if source])
        shapes = AttrValue.ListValue(shape=[_shape(aval) for aval in avals])
        node.attr["_output_shapes"].CopyFrom(AttrValue(list=shapes))
        node.attr["dtype"].s = ", ".join(str(aval.dtype) for aval in avals).encode()
        for key, value in (settings or {}).items():
            node.attr[key].s = str(value).encode()
        self.nodes[name] = node
        return [f"{name}:{index}" if index else name for index in range(len(avals))]

    def walk(
        self, closed: jex.ClosedJaxpr, sources: Sequence[Source], outer: _Scope, label: str = ""
    ) -> list[Source]:
        """Adds the equations of a closed jaxpr.

        Args:
            closed: jaxpr with its constants.
            sources: of its inputs.
            outer: the scope around it.
            label: a name for its only equation.

        Returns:
            the sources of its outputs.
        """
        jaxpr = closed.jaxpr
        known: dict[Any, Source] = dict(zip(jaxpr.invars, sources, strict=True))

        def read(atom: Any, scope: _Scope) -> Source:
            if hasattr(atom, "val") or (atom not in known and atom.aval.ndim == 0):
                return None  # a literal number
            if atom not in known:  # a constant stands where it is first used
                known[atom] = self.add(scope.path, "constant", "Constant", [], [atom.aval])[0]
            return known[atom]

        for equation in jaxpr.eqns:
            scope = outer.enter(equation)
            inputs = [read(atom, scope) for atom in equation.invars]
            results = self.equation(equation, inputs, scope, label)
            known.update(zip(equation.outvars, results, strict=True))
        return [read(atom, outer) for atom in jaxpr.outvars]

    def equation(
        self, equation: jex.JaxprEqn, sources: list[Source], scope: _Scope, label: str
    ) -> list[Source]:
        """Adds an equation, or what is inside of it; returns the sources of its outputs."""
        kind, params = equation.primitive.name, equation.params
        avals: Avals = [variable.aval for variable in equation.outvars]
        if kind in ("scan", "while", "cond"):
            return getattr(self, f"_{kind}")(params, sources, avals, scope, label or kind)
        called = _called(equation)
        if called is not None:
            name = label or str(params.get("name") or "").strip("_<>")
            if _has_scopes(called.jaxpr):
                name = ""
            elif name and len(called.jaxpr.eqns) > 1:
                scope, name = self.group(scope, name), ""
            return self.walk(called, sources, scope, name)
        if not any(sources) and all(aval.ndim == 0 for aval in avals):
            return [None] * len(avals)  # a literal number that is only converted
        return self.add(scope.path, label or kind, kind, sources, avals, _settings(params))

    def _scan(
        self,
        params: Mapping[str, Any],
        sources: list[Source],
        avals: Avals,
        scope: _Scope,
        name: str,
    ) -> list[Source]:
        """The body once, between the slices that it reads and the stacks that it makes."""
        body = params["jaxpr"]
        if not _has_scopes(body.jaxpr):
            scope = self.group(scope, name)
        whole = params["num_consts"] + params["num_carry"]
        loop = {"length": params["length"], "reverse": params["reverse"]}
        for index, variable in enumerate(body.jaxpr.invars[whole:], start=whole):
            slices = sources[index : index + 1], [variable.aval]
            sources[index] = self.add(scope.path, "scan_slice", "scan_slice", *slices, loop)[0]
        results = self.walk(body, sources, scope)
        for index in range(params["num_carry"], len(results)):
            stack = results[index : index + 1], avals[index : index + 1]
            results[index] = self.add(scope.path, "scan_stack", "scan_stack", *stack)[0]
        return results

    def _while(
        self,
        params: Mapping[str, Any],
        sources: list[Source],
        avals: Avals,
        scope: _Scope,
        name: str,
    ) -> list[Source]:
        """The body once; the condition leads to no output."""
        scope = self.group(scope, name)
        return self.walk(params["body_jaxpr"], sources[params["cond_nconsts"] :], scope)

    def _cond(
        self,
        params: Mapping[str, Any],
        sources: list[Source],
        avals: Avals,
        scope: _Scope,
        name: str,
    ) -> list[Source]:
        scope = self.group(scope, name)
        results = sources[:1]
        for index, branch in enumerate(params["branches"]):
            results += self.walk(branch, sources[1:], scope.below(f"branch_{index}"))
        return self.add(scope.path, "select", "cond", results, avals)

    def to_message(self) -> Any:
        """The ``GraphDef`` without the equations that no output needs."""
        from tensorboardX.proto import graph_pb2, versions_pb2

        needed: set[str] = set()
        for name, node in reversed(self.nodes.items()):
            if name in needed or node.op == "Output":
                needed |= {name, *(source.partition(":")[0] for source in node.input)}
        kept = [node for name, node in self.nodes.items() if name in needed or not node.input]
        return graph_pb2.GraphDef(node=kept, versions=versions_pb2.VersionDef(producer=22))


def _called(equation: jex.JaxprEqn) -> jex.ClosedJaxpr | None:
    """The closed jaxpr that an equation calls with its own inputs, if it does so, else None."""
    atoms: Sequence[Any] = (*equation.invars, *equation.outvars)
    outside = [atom.aval.shape for atom in atoms]
    for value in equation.params.values():
        if isinstance(value, jex.Jaxpr) and not value.constvars:
            value = jex.ClosedJaxpr(value, ())
        if isinstance(value, jex.ClosedJaxpr):
            inside = [atom.aval.shape for atom in (*value.jaxpr.invars, *value.jaxpr.outvars)]
            if inside == outside and len(value.jaxpr.invars) == len(equation.invars):
                return value
    return None


def _has_scopes(jaxpr: jex.Jaxpr) -> bool:
    """Returns True if modules (or ``jax.named_scope``) made equations of a jaxpr."""
    called = [_called(equation) for equation in jaxpr.eqns]
    return any(equation.source_info.name_stack.stack for equation in jaxpr.eqns) or any(
        _has_scopes(inner.jaxpr) for inner in called if inner is not None
    )


def _settings(params: Mapping[str, object]) -> dict[str, str]:
    """The readable parameters of an equation."""
    texts = {key: str(value) for key, value in params.items() if value is not None}
    return {
        key: text
        for key, text in texts.items()
        if len(text) <= MAX_SETTING and "<" not in text and "{ lambda" not in text
    }


def _shape(aval: Any) -> Any:
    from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto

    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in aval.shape])


def _unique(name: str, taken: Container[str]) -> str:
    candidate, number = name, 0
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def _place(path: tuple, names: Sequence[str]) -> list[str]:
    """Op, scopes and name of a leaf of (variables, *inputs)."""
    parts = [part for part in tree.leaf_name(path[1:]).split("/") if part]
    if path[0].idx > 0:
        return ["Input", names[path[0].idx - 1], *parts]
    return ["Parameter" if parts[0] == "params" else parts[0], *parts[1:]]


def _argument_names(
    model: nn.Module, method: str | Callable[..., object] | None, number: int
) -> list[str]:
    """The names of the call's positional arguments; ``input`` or ``input_0``, … for ``*args``."""
    function = getattr(type(model), method) if isinstance(method, str) else method
    parameters = list(inspect.signature(function or type(model).__call__).parameters.values())
    names: list[str] = []
    for parameter in parameters[1:]:
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            rest = number - len(names)
            return names + (["input"] if rest == 1 else [f"input_{i}" for i in range(rest)])
        names.append(parameter.name)
    return names[:number]
