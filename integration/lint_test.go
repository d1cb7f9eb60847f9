package integration

import (
	"go/ast"
	"go/token"
	"go/types"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The limits of this code base, in lines. Tests have more room: a table of cases is long and still
// reads from top to bottom.
const (
	maxFileLines     = 500
	maxFuncLines     = 60
	maxTestFileLines = 600
	maxTestFuncLines = 120
)

// streamsAllowed names files outside cmd that hand on a stream of the process, each with its reason.
var streamsAllowed = map[string]string{
	"keysvc/embedded/pin.go": "a command that prints the PIN may talk to the user on standard error",
}

func TestEveryPackageIsDocumentedInDocGo(t *testing.T) {
	pkgs := load(t, production)
	for _, p := range pkgs {
		if len(p.GoFiles) == 0 {
			continue // tests only
		}
		documented := slices.ContainsFunc(p.Syntax, func(f *ast.File) bool {
			return f.Doc != nil && filepath.Base(p.Fset.Position(f.FileStart).Filename) == "doc.go"
		})
		if !documented {
			t.Errorf("%s has no package comment in doc.go", p.PkgPath)
		}
	}
}

func TestEveryExportedNameIsDocumented(t *testing.T) {
	pkgs := load(t, production)
	for _, f := range sourceFiles(t, pkgs) {
		for _, decl := range f.ast.Decls {
			for _, name := range undocumented(decl) {
				t.Errorf("%s: %s has no doc comment", position(f, decl), name)
			}
		}
	}
}

// undocumented lists the exported names of a declaration without a comment of their own or their
// group's.
func undocumented(decl ast.Decl) []string {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
			return []string{d.Name.Name}
		}
	case *ast.GenDecl:
		var names []string
		for _, spec := range d.Specs {
			names = append(names, undocumentedSpec(spec, d.Doc != nil)...)
		}
		return names
	}
	return nil
}

func undocumentedSpec(spec ast.Spec, group bool) []string {
	var names []string
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() && s.Doc == nil && !group {
			names = append(names, s.Name.Name)
		}
	case *ast.ValueSpec:
		for _, n := range s.Names {
			if n.IsExported() && s.Doc == nil && s.Comment == nil && !group {
				names = append(names, n.Name)
			}
		}
	}
	return names
}

// exportedReceiver is false for methods of unexported types, which godoc does not show.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	typ := d.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	id, ok := typ.(*ast.Ident)
	return !ok || id.IsExported()
}

func TestFilesAndFunctionsAreSmall(t *testing.T) {
	for _, f := range sourceFiles(t, load(t, withTests)) {
		fileLimit, funcLimit := maxFileLines, maxFuncLines
		if f.isTest() {
			fileLimit, funcLimit = maxTestFileLines, maxTestFuncLines
		}
		if n := f.pkg.Fset.Position(f.ast.FileEnd).Line; n > fileLimit {
			t.Errorf("%s has %d lines, more than %d", f.path, n, fileLimit)
		}
		for _, decl := range f.ast.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			n := f.pkg.Fset.Position(fn.End()).Line - f.pkg.Fset.Position(fn.Pos()).Line + 1
			if n > funcLimit {
				t.Errorf("%s: %s has %d lines, more than %d", position(f, fn), fn.Name.Name, n, funcLimit)
			}
		}
	}
}

func TestNamesSayWhatIsInside(t *testing.T) {
	vague := []string{"util", "utils", "common", "manager", "helper", "helpers", "misc", "base"}
	pkgs := load(t, withTests)
	for _, f := range sourceFiles(t, pkgs) {
		words := strings.FieldsFunc(strings.TrimSuffix(f.path, ".go"), func(r rune) bool { return r == '/' || r == '_' })
		for _, w := range words {
			if slices.Contains(vague, w) {
				t.Errorf("%s: %q says nothing", f.path, w)
			}
		}
	}
}

func TestOnlyTheCommandPrints(t *testing.T) {
	pkgs := load(t, production)
	for _, f := range sourceFiles(t, pkgs) {
		if f.path == "cmd/kmsfs/ui.go" || strings.HasPrefix(f.path, "integration/") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			obj := f.pkg.TypesInfo.Uses[sel.Sel]
			if prints(obj, f.path) {
				t.Errorf("%s: %s.%s outside cmd/kmsfs/ui.go", position(f, n), obj.Pkg().Name(), obj.Name())
			}
			return true
		})
	}
}

// prints reports whether obj writes to the terminal. The command may name its streams, since it has
// to hand them to the one file that writes.
func prints(obj types.Object, path string) bool {
	if obj == nil || obj.Pkg() == nil {
		return false
	}
	inCmd := strings.HasPrefix(path, "cmd/")
	switch obj.Pkg().Path() {
	case "fmt":
		return strings.HasPrefix(obj.Name(), "Print") || inCmd && strings.HasPrefix(obj.Name(), "Fprint")
	case "os":
		return !inCmd && streamsAllowed[path] == "" && (obj.Name() == "Stdout" || obj.Name() == "Stderr")
	case "log":
		_, isFunc := obj.(*types.Func)
		return isFunc && obj.Name() != "New" && obj.Type().(*types.Signature).Recv() == nil
	}
	return false
}

func TestNoInitFunctions(t *testing.T) {
	pkgs := load(t, withTests)
	for _, f := range sourceFiles(t, pkgs) {
		for _, decl := range f.ast.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: init() runs before anybody asked for it", position(f, fn))
			}
		}
	}
}

func TestNoWeakRandomnessOutsideTests(t *testing.T) {
	pkgs := load(t, production)
	for _, f := range sourceFiles(t, pkgs) {
		for _, spec := range f.ast.Imports {
			if p := strings.Trim(spec.Path.Value, `"`); p == "math/rand" || p == "math/rand/v2" {
				t.Errorf("%s imports %s", f.path, p)
			}
		}
	}
}

func TestNoRawKeysCrossPackageLines(t *testing.T) {
	pkgs := load(t, production)
	for _, f := range sourceFiles(t, pkgs) {
		for _, decl := range f.ast.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || !fn.Name.IsExported() {
				continue
			}
			for _, name := range rawKeys(f.pkg.TypesInfo, fn) {
				t.Errorf("%s: parameter %s of %s is a key in a plain []byte; use a secret type", position(f, fn), name, fn.Name.Name)
			}
		}
	}
}

// rawKeys lists the parameters of a function that are byte slices or arrays and named as keys.
// Public names of keys (ids, handles) are strings or types of their own and do not count.
func rawKeys(info *types.Info, fn *ast.FuncDecl) []string {
	var found []string
	for _, field := range fn.Type.Params.List {
		if !isBytes(info.TypeOf(field.Type)) {
			continue
		}
		for _, n := range field.Names {
			if low := strings.ToLower(n.Name); low == "key" || strings.HasSuffix(low, "key") && !strings.HasSuffix(low, "publickey") {
				found = append(found, n.Name)
			}
		}
	}
	return found
}

func isBytes(t types.Type) bool {
	if t == nil {
		return false
	}
	switch u := t.(type) { // not Underlying: a named type is what the rule asks for
	case *types.Slice:
		return types.Identical(u.Elem(), types.Typ[types.Byte])
	case *types.Array:
		return types.Identical(u.Elem(), types.Typ[types.Byte])
	}
	return false
}

// position is file:line of a node.
func position(f sourceFile, n ast.Node) token.Position {
	p := f.pkg.Fset.Position(n.Pos())
	p.Filename = path.Clean(filepath.ToSlash(f.path))
	return p
}
