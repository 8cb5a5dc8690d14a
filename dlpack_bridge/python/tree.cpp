// convert_tree: every array in a structure of dicts, lists, tuples, namedtuples and dataclasses.

#include <dlpack_bridge/python/tree.hpp>

#include <set>

#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/keywords.hpp>
#include <dlpack_bridge/python/process_state.hpp>
#include <dlpack_bridge/python/source.hpp>
#include <dlpack_bridge/python/target.hpp>

namespace dlpack_bridge::python {
namespace {

// Where a node is, from itself up to the root: on the stack, and read only for an error.
struct place {
  enum class step : std::uint8_t { tree, call, result, item, key, field };

  const place* above = nullptr;
  step kind = step::tree;
  PyObject* name = nullptr;  // the key or the field, borrowed
  Py_ssize_t index = 0;
};

// Whether this is an argument of a call: those by position and those by name are the items of its root.
bool is_argument(const place& at) noexcept {
  const place* const all = at.above;
  return all != nullptr && all->above != nullptr && all->above->kind == place::step::call;
}

// "tree['a'][3].x", "argument y[3]"; empty with an error set.
ref path_of(const place& at) noexcept {
  if (at.above == nullptr) {
    return ref::steal(PyUnicode_FromString(at.kind == place::step::result ? "result" : "tree"));
  }
  if (is_argument(at)) {
    const bool named = at.kind == place::step::key;
    return ref::steal(named ? PyUnicode_FromFormat("argument %S", at.name)
                            : PyUnicode_FromFormat("argument %zd", at.index + 1));
  }
  const ref above = path_of(*at.above);
  if (!above) return {};
  if (at.kind == place::step::item) {
    return ref::steal(PyUnicode_FromFormat("%U[%zd]", above.get(), at.index));
  }
  const char* format = at.kind == place::step::key ? "%U[%R]" : "%U.%S";
  return ref::steal(PyUnicode_FromFormat(format, above.get(), at.name));
}

PyObject* type_of(PyObject* x) noexcept { return reinterpret_cast<PyObject*>(Py_TYPE(x)); }

ref call_of_module(const char* module, const char* function, PyObject* x) noexcept {
  const ref imported = ref::steal(PyImport_ImportModule(module));
  if (!imported) return {};
  return ref::steal(PyObject_CallMethod(imported.get(), function, "(O)", x));
}

// A shallow copy: it keeps what a subclass carries, such as a default factory.
ref copy_of(PyObject* x) noexcept { return call_of_module("copy", "copy", x); }

bool is_namedtuple(PyObject* x) noexcept {
  static PyObject* const fields = PyUnicode_InternFromString("_fields");
  return PyTuple_Check(x) && !PyTuple_CheckExact(x) &&
         type_attribute(Py_TYPE(x), fields) != nullptr;
}

// A namedtuple's names, one for each item; empty without an error when they are not that.
ref names_of(PyObject* x) noexcept {
  ref names = attribute_or_none(type_of(x), "_fields");
  const bool fit =
      names && PyTuple_Check(names.get()) && PyTuple_GET_SIZE(names.get()) == PyTuple_GET_SIZE(x);
  return fit ? std::move(names) : ref();
}

// A tuple of the type of `x` with other items and the attributes of `x`, as unpickling makes it: its
// `__new__` and `__init__` may want anything. Only those of structseq, whose tuple is a part of it, make
// their own.
ref tuple_like(PyObject* x, PyObject* values) noexcept {
  if (PyTuple_CheckExact(x)) return ref::steal(PyList_AsTuple(values));
  static PyObject* const parts = PyUnicode_InternFromString("n_sequence_fields");
  if (type_attribute(Py_TYPE(x), parts) != nullptr) {
    return ref::steal(PyObject_CallOneArg(type_of(x), values));
  }
  const ref arguments = ref::steal(PyTuple_Pack(1, values));
  ref made =
      arguments ? ref::steal(PyTuple_Type.tp_new(Py_TYPE(x), arguments.get(), nullptr)) : ref();
  const ref own = made ? attribute_or_none(x, "__dict__") : ref();
  const ref room = own ? attribute_or_none(made.get(), "__dict__") : ref();
  if (room && PyDict_Check(room.get()) && PyDict_Update(room.get(), own.get()) != 0) return {};
  return made;
}

bool is_dataclass(PyObject* x) noexcept {
  static PyObject* const fields = PyUnicode_InternFromString("__dataclass_fields__");
  return type_attribute(Py_TYPE(x), fields) != nullptr;
}

// Puts the place in front of the message of a refusal.
void name_place(const place& at) noexcept {
  if (at.above == nullptr || !PyErr_ExceptionMatches(state().exchange_error)) return;
  const ref error = take_error();
  const ref path = path_of(at);
  const ref words = path ? ref::steal(PyObject_Str(error.get())) : ref();
  const ref text =
      words ? ref::steal(PyUnicode_FromFormat("%U: %U", path.get(), words.get())) : ref();
  const ref args = text ? ref::steal(PyTuple_Pack(1, text.get())) : ref();
  if (args && PyObject_SetAttrString(error.get(), "args", args.get()) == 0) {
    PyErr_SetObject(type_of(error.get()), error.get());
  }
}

// The walk. Every function gives a new reference, or nothing with an error set. Containers are copied
// first and their values replaced in the copy: converting runs foreign code, which may change them. A tree
// is new all through; arguments and results in which nothing was converted are the objects that were given.
class tree_walk {
 public:
  tree_walk(PyObject* root, place::step kind, const target_row& row, const requirements& wanted,
            bool keeps_leaves) noexcept
      : root_(root), kind_(kind), row_(row), wanted_(wanted), keeps_leaves_(keeps_leaves),
        keeps_containers_(kind != place::step::tree) {}

  ref convert_tree() noexcept { return convert_node(root_, {.kind = kind_}); }

 private:
  ref convert_node(PyObject* x, const place& at) noexcept {
    if (PyDict_Check(x) || is_namedtuple(x)) return convert_container(x, at);
    if (entry_of(Py_TYPE(x)) != nullptr) {
      // A capsule is used up: before the first one is, all else is known to go through.
      const bool uses_up = PyCapsule_CheckExact(x) && !only_judges_ && at.above != nullptr;
      if (uses_up && !judged_ && !judge_tree()) return {};
      ref made = only_judges_ ? judge_leaf(x) : convert_leaf(x);
      if (made) return made;
      if (!clear_not_an_array()) {  // whose interface may be None
        name_place(at);
        return {};
      }
    }
    if (PyErr_Occurred()) return {};
    if (PyList_Check(x) || PyTuple_Check(x) || is_dataclass(x)) return convert_container(x, at);
    return keeps_leaves_ ? ref::borrow(x) : refuse_leaf(x, at);
  }

  bool judge_tree() noexcept {
    tree_walk judge(root_, kind_, row_, wanted_, keeps_leaves_);
    judge.only_judges_ = judged_ = true;
    return static_cast<bool>(judge.convert_tree());
  }

  ref convert_leaf(PyObject* x) noexcept {
    return ref::steal(asks_nothing_ ? convert(x, row_) : convert(x, row_, wanted_));
  }

  // The leaf itself when it would be converted.
  ref judge_leaf(PyObject* x) noexcept {
    try {
      inbound in(x, row_);
      in.mode = look::borrow;
      if (describe(in, wanted_)) {
        if (PyCapsule_CheckExact(x) && !capsules_.insert(x).second) {
          in.refuse(reason_code::capsule,
                    "the tree has the capsule twice, and it can be used once");
        }
        const decision decided = judge(in, wanted_);
        if (decided.action != action::refuse) return ref::borrow(x);
        (void)conclude(in, wanted_, decided);
      }
    } catch (...) {
      raise_current_exception();
    }
    return {};
  }

  ref convert_container(PyObject* x, const place& at) noexcept {
    if (Py_EnterRecursiveCall(" in convert_tree") != 0) return {};
    ref made = PyDict_Check(x)    ? convert_dict(x, at)
               : PyTuple_Check(x) ? convert_tuple(x, at)
               : PyList_Check(x)  ? convert_list(x, at)
                                  : convert_dataclass(x, at);
    Py_LeaveRecursiveCall();
    return made;
  }

  ref convert_dict(PyObject* x, const place& at) noexcept {
    ref values = ref::steal(PyDict_CheckExact(x) ? PyDict_Copy(x) : PyDict_New());
    if (!values) return {};
    if (!PyDict_CheckExact(x)) {
      const ref items = ref::steal(PyMapping_Items(x));
      if (!items || PyDict_MergeFromSeq2(values.get(), items.get(), 1) != 0) return {};
    }
    PyObject *key, *value;
    bool changed = !keeps_containers_;
    for (Py_ssize_t next = 0; PyDict_Next(values.get(), &next, &key, &value) != 0;) {
      const ref made = convert_node(value, {&at, place::step::key, key});
      if (!made) return {};
      if (made.get() == value) continue;
      changed = true;
      if (PyDict_SetItem(values.get(), key, made.get()) != 0) return {};
    }
    if (!changed) return ref::borrow(x);
    if (PyDict_CheckExact(x)) return values;
    ref made = copy_of(x);
    // One by one: `update` of a Counter adds.
    for (Py_ssize_t next = 0; made && PyDict_Next(values.get(), &next, &key, &value) != 0;) {
      if (PyObject_SetItem(made.get(), key, value) != 0) return {};
    }
    return made;
  }

  // The values of a list or a tuple, converted; `changed` says whether one of them is another now.
  ref convert_items(PyObject* x, const place& at, bool& changed) noexcept {
    ref values = ref::steal(PySequence_List(x));
    const ref names = values && is_namedtuple(x) ? names_of(x) : ref();
    for (Py_ssize_t i = 0; values && i < PyList_GET_SIZE(values.get()); ++i) {
      PyObject* const value = PyList_GET_ITEM(values.get(), i);
      const place here = names ? place{&at, place::step::field, PyTuple_GET_ITEM(names.get(), i)}
                               : place{&at, place::step::item, nullptr, i};
      ref made = convert_node(value, here);
      if (!made) return {};
      changed = changed || made.get() != value;
      if (PyList_SetItem(values.get(), i, made.release()) != 0) return {};
    }
    return values;
  }

  ref convert_tuple(PyObject* x, const place& at) noexcept {
    bool changed = false;
    const ref values = convert_items(x, at, changed);
    if (!values) return {};
    return changed ? tuple_like(x, values.get()) : ref::borrow(x);
  }

  ref convert_list(PyObject* x, const place& at) noexcept {
    bool changed = !keeps_containers_;
    ref values = convert_items(x, at, changed);
    if (values && !changed) return ref::borrow(x);
    if (!values || PyList_CheckExact(x)) return values;
    ref made = copy_of(x);
    const ref everything = ref::steal(PySlice_New(nullptr, nullptr, nullptr));
    const bool done =
        made && everything && PyObject_SetItem(made.get(), everything.get(), values.get()) == 0;
    return done ? std::move(made) : ref();
  }

  // Fields without a value stay without one, and a frozen class is no obstacle.
  ref convert_dataclass(PyObject* x, const place& at) noexcept {
    const ref fields = call_of_module("dataclasses", "fields", x);
    if (!fields) return {};
    if (!PyTuple_Check(fields.get())) {
      PyErr_SetString(PyExc_TypeError, "dataclasses.fields returned no tuple");
      return {};
    }
    ref made = keeps_containers_ ? ref() : copy_of(x);
    if (!made && !keeps_containers_) return {};
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(fields.get()); ++i) {
      const ref field =
          ref::steal(PyObject_GetAttrString(PyTuple_GET_ITEM(fields.get(), i), "name"));
      const ref value = field ? ref::steal(PyObject_GetAttr(x, field.get())) : ref();
      if (!value) {
        if (!field || !PyErr_ExceptionMatches(PyExc_AttributeError)) return {};
        PyErr_Clear();
        continue;
      }
      const ref leaf = convert_node(value.get(), {&at, place::step::field, field.get()});
      if (!leaf) return {};
      if (leaf.get() == value.get()) continue;
      if (!made) made = copy_of(x);
      if (!made || PyObject_GenericSetAttr(made.get(), field.get(), leaf.get()) != 0) return {};
    }
    return made ? std::move(made) : ref::borrow(x);
  }

  ref refuse_leaf(PyObject* x, const place& at) noexcept {
    const ref path = path_of(at);
    const ref name = path ? ref::steal(PyObject_GetAttrString(type_of(x), "__name__")) : ref();
    if (name) {
      PyErr_Format(state().not_an_array_error,
                   "%U is no array but %S; pass leaves=\"keep\" to leave such leaves as they are",
                   path.get(), name.get());
    }
    return {};
  }

  PyObject* root_;
  place::step kind_;
  const target_row& row_;
  const requirements& wanted_;
  const bool asks_nothing_ = wanted_ == requirements();
  bool keeps_leaves_;
  bool keeps_containers_;
  bool only_judges_ = false;
  bool judged_ = false;
  std::set<PyObject*> capsules_;  // that were judged
};

bool read_leaves(PyObject* value, bool& keeps_leaves) noexcept {
  if (PyUnicode_Check(value)) {
    keeps_leaves = is_keyword(value, "keep");
    if (keeps_leaves || is_keyword(value, "refuse")) return true;
  }
  PyErr_Format(PyExc_ValueError, "leaves is \"refuse\" or \"keep\", got %R", value);
  return false;
}

PyObject* convert_from(place::step kind, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  if (count != 2) {
    PyErr_Format(PyExc_TypeError, "convert_tree() takes 2 positional arguments but %zd were given",
                 count);
    return nullptr;
  }
  static const keyword_names own{"leaves"};
  requirements wanted;
  bool keeps_leaves = false;
  const Py_ssize_t keywords = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
  for (Py_ssize_t i = 0; i < keywords; ++i) {
    PyObject* const name = PyTuple_GET_ITEM(names, i);
    PyObject* const value = args[count + i];
    const bool read = own.find(name) == 0
                          ? read_leaves(value, keeps_leaves)
                          : read_keyword("convert_tree", name, value, every_keyword, wanted);
    if (!read) return nullptr;
  }
  // Also for a tree without arrays: a wrong target is an error.
  const target_row* row = target_of(args[1]);
  if (row == nullptr) return nullptr;
  return tree_walk(args[0], kind, *row, wanted, keeps_leaves).convert_tree().release();
}

PyObject* convert_tree(PyObject*, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  return convert_from(place::step::tree, args, count, names);
}

PyObject* convert_call(PyObject*, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  return convert_from(place::step::call, args, count, names);
}

PyObject* convert_result(PyObject*, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  return convert_from(place::step::result, args, count, names);
}

template <auto Function>
PyCFunction with_keywords() noexcept {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(Function));
}

PyMethodDef methods[] = {
    {"_convert_call", with_keywords<convert_call>(), METH_FASTCALL | METH_KEYWORDS,
     "convert_tree for the pair (args, kwargs) of a call: errors name the argument, and what holds no "
     "array\nstays the object that it is."},
    {"_convert_result", with_keywords<convert_result>(), METH_FASTCALL | METH_KEYWORDS,
     "The same for the result of a call."},
    {"convert_tree", with_keywords<convert_tree>(), METH_FASTCALL | METH_KEYWORDS,
     "convert_tree(tree, to, /, *, leaves=\"refuse\", dtype=None, device=None, copy=None, "
     "detach=False, readonly=\"copy\", order=None, alignment=None, stream=None)\n--\n\n"
     "Convert every array in a structure of dicts, lists, tuples, namedtuples and dataclasses.\n\n"
     "The structure is rebuilt with the same types; the arrays go the road of ``convert(x, to, "
     "...)``.\nOther leaves are refused with NotAnArrayError, which names their place, unless "
     "``leaves=\"keep\"``.\nOwnership, streams and the GIL are those of ``convert``.\n\n"
     "Errors: those of ``convert``; ValueError for another value of ``leaves``."},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

PyMethodDef* tree_methods() noexcept { return methods; }

}  // namespace dlpack_bridge::python
