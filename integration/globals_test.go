package integration

import (
	"go/ast"
	"go/token"
	"go/types"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

// A package-level variable is fine if it never changes: an error, an embedded file, a table. It is
// state if anything in its package assigns to it, to a part of it, or takes its address, or if its
// type exists to be changed.
//
// stateAllowed names the exceptions, each with its reason.
var stateAllowed = map[string]string{
	"hsm/pkcs11.registry": "a PKCS#11 module is initialised once per process, whoever opens it",
}

func TestPackagesHaveNoMutableState(t *testing.T) {
	for _, p := range load(t, production) {
		written := writtenObjects(p)
		for _, f := range sourceFiles(t, []*packages.Package{p}) {
			for _, name := range packageVars(f.ast) {
				obj := p.TypesInfo.Defs[name]
				if obj == nil || name.Name == "_" || stateAllowed[strings.TrimPrefix(p.PkgPath, modulePath+"/")+"."+name.Name] != "" {
					continue
				}
				if written[obj] {
					t.Errorf("%s: package variable %s is changed by its package", position(f, name), name.Name)
				}
				if stateful(obj.Type()) {
					t.Errorf("%s: package variable %s has type %s, which is made to change", position(f, name), name.Name, obj.Type())
				}
			}
		}
	}
}

// packageVars lists the names that var declarations at the top of a file define.
func packageVars(f *ast.File) []*ast.Ident {
	var names []*ast.Ident
	for _, decl := range f.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.VAR {
			continue
		}
		for _, spec := range gen.Specs {
			names = append(names, spec.(*ast.ValueSpec).Names...)
		}
	}
	return names
}

// writtenObjects finds what is assigned to, counted up, or has its address taken in a package.
func writtenObjects(p *packages.Package) map[types.Object]bool {
	written := map[types.Object]bool{}
	mark := func(e ast.Expr) {
		if id := rootIdent(e); id != nil {
			written[p.TypesInfo.Uses[id]] = true
		}
	}
	for _, f := range p.Syntax {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				for _, lhs := range n.Lhs {
					mark(lhs)
				}
			case *ast.IncDecStmt:
				mark(n.X)
			case *ast.UnaryExpr:
				if n.Op == token.AND {
					mark(n.X)
				}
			case *ast.CallExpr:
				if fn, ok := n.Fun.(*ast.Ident); ok && (fn.Name == "delete" || fn.Name == "clear") {
					mark(n.Args[0])
				}
			}
			return true
		})
	}
	return written
}

// rootIdent is x in x, x.f, x[i], *x and (x).
func rootIdent(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// stateful reports types of sync and atomic, and channels. A sync.Pool holds nothing that anybody
// relies on; it is a cache of the allocator.
func stateful(t types.Type) bool {
	name := strings.TrimPrefix(t.String(), "*")
	if name == "sync.Pool" {
		return false
	}
	_, isChan := t.Underlying().(*types.Chan)
	return isChan || strings.HasPrefix(name, "sync.") || strings.HasPrefix(name, "sync/atomic.")
}
