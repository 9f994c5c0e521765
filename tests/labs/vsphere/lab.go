// What a real vCenter does and the simulator of govmomi 0.24 does not, as far as our driver meets it. Each deviation
// names what the vSphere Web Services API says; everything else is VMware's code, untouched.
package simulator

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// LabSettings are set by tests through /lab/; the zero value leaves tasks synchronous and nothing failing.
type LabSettings struct {
	mu    sync.Mutex
	delay map[string]time.Duration // of a task, by the name it is created with: cloneVm, reconfigVm, powerOn …
	fail  map[string]int           // how many of the next tasks of that name fail for want of memory
	Ready bool
}

// Lab is the one instance.
var Lab = &LabSettings{delay: map[string]time.Duration{}, fail: map[string]int{}}

// Delay makes tasks of a name take their time; zero makes them end within the call again.
func (l *LabSettings) Delay(name string, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay[name] = d
}

// Fail lets the next n tasks of a name fail.
func (l *LabSettings) Fail(name string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail[name] = n
}

func (l *LabSettings) of(name string) (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail[name] > 0 {
		l.fail[name]--
		return l.delay[name], true
	}
	return l.delay[name], false
}

// Run lets a task run later, as a real one does, where a test asked for it. "A managed entity's recentTask" is kept too.
func (t *Task) Run() types.ManagedObjectReference {
	if !Lab.Ready {
		return t.runNow()
	}
	name := lcFirst(strings.TrimSuffix(t.Info.Name, vTaskSuffix))
	delay, fails := Lab.of(name)
	if fails {
		t.Execute = func(*Task) (types.AnyType, types.BaseMethodFault) {
			return nil, &types.InsufficientMemoryResourcesFault{Unreserved: 1, Requested: 2}
		}
	}
	if e, ok := Map.Get(*t.Info.Entity).(mo.Entity); ok {
		recent := append(e.Entity().RecentTask, t.Self)
		if len(recent) > 10 {
			recent = recent[len(recent)-10:]
		}
		e.Entity().RecentTask = recent
	}
	if delay == 0 {
		return t.runNow()
	}
	go func() {
		time.Sleep(delay)
		if obj := Map.Get(*t.Info.Entity); obj != nil {
			Map.WithLock(obj, func() { t.runNow() })
		} else {
			t.runNow()
		}
	}()
	return t.Self
}

type labRest struct {
	objects []types.ObjectContent
	max     int
}

var labPages = struct {
	sync.Mutex
	rest map[string]labRest
	next int
}{rest: map[string]labRest{}}

func labPage(objects []types.ObjectContent, max int) *types.RetrieveResult {
	if len(objects) <= max {
		return &types.RetrieveResult{Objects: objects}
	}
	labPages.Lock()
	defer labPages.Unlock()
	labPages.next++
	token := strconv.Itoa(labPages.next)
	labPages.rest[token] = labRest{objects[max:], max}
	return &types.RetrieveResult{Objects: objects[:max], Token: token}
}

// RetrievePropertiesEx honours options.maxObjects: "The maximum number of ObjectContent data objects that should be
// returned in a single result" (PropertyCollector.RetrieveOptions).
func (pc *PropertyCollector) RetrievePropertiesEx(ctx *Context, r *types.RetrievePropertiesEx) soap.HasFault {
	res := pc.retrieveAll(ctx, r)
	body, ok := res.(*methods.RetrievePropertiesExBody)
	if ok && body.Res != nil && r.Options.MaxObjects > 0 {
		body.Res.Returnval = labPage(body.Res.Returnval.Objects, int(r.Options.MaxObjects))
	}
	return res
}

// ContinueRetrievePropertiesEx gives the next page of a token, once.
func (pc *PropertyCollector) ContinueRetrievePropertiesEx(r *types.ContinueRetrievePropertiesEx) soap.HasFault {
	labPages.Lock()
	rest, ok := labPages.rest[r.Token]
	delete(labPages.rest, r.Token)
	labPages.Unlock()
	if !ok {
		fault := &types.InvalidArgument{InvalidProperty: "token"}
		return &methods.ContinueRetrievePropertiesExBody{Fault_: Fault("", fault)}
	}
	page := labPage(rest.objects, rest.max)
	return &methods.ContinueRetrievePropertiesExBody{Res: &types.ContinueRetrievePropertiesExResponse{Returnval: *page}}
}

// CancelRetrievePropertiesEx forgets the pages of a token.
func (pc *PropertyCollector) CancelRetrievePropertiesEx(r *types.CancelRetrievePropertiesEx) soap.HasFault {
	labPages.Lock()
	defer labPages.Unlock()
	delete(labPages.rest, r.Token)
	return &methods.CancelRetrievePropertiesExBody{Res: new(types.CancelRetrievePropertiesExResponse)}
}

var labGrown sync.Map // by collector: whether objects came since it last went through its filters

// PutObject notes that the inventory has grown; tasks are no part of it.
func (pc *PropertyCollector) PutObject(o mo.Reference) {
	if o.Reference().Type != "Task" {
		labGrown.Store(pc.Self, true)
	}
	pc.tellPut(o)
}

// apply goes through all objects of the filters only where some may have come: upstream does so for every change, which
// takes as long as a full list for each. A real collector is told of changes one by one.
func (pc *PropertyCollector) apply(ctx *Context, update *types.UpdateSet) types.BaseMethodFault {
	grown, known := labGrown.Load(pc.Self)
	if update.Version != "" && known && !grown.(bool) {
		return nil
	}
	labGrown.Store(pc.Self, false)
	return pc.collectAnew(ctx, update)
}

// CloneVMTask refuses a name that the folder has ("DuplicateName: if there is already a virtual machine in the folder
// with the same name") and gives the clone devices of its own: upstream's share them with the source.
func (vm *VirtualMachine) CloneVMTask(ctx *Context, req *types.CloneVM_Task) soap.HasFault {
	task := CreateTask(vm, "cloneVm", func(*Task) (types.AnyType, types.BaseMethodFault) {
		folder, ok := asFolderMO(Map.Get(req.Folder))
		if !ok {
			return nil, &types.ManagedObjectNotFound{Obj: req.Folder}
		}
		if Map.FindByName(req.Name, folder.ChildEntity) != nil {
			return nil, &types.DuplicateName{Name: req.Name, Object: req.Folder}
		}
		var own types.VirtualHardware
		deepCopy(&vm.Config.Hardware, &own)
		body := vm.cloneShared(ctx, req).(*methods.CloneVM_TaskBody)
		vm.Config.Hardware.Device = own.Device
		done := Map.Get(body.Res.Returnval).(*Task)
		if done.Info.Error != nil {
			return nil, done.Info.Error.Fault
		}
		return done.Info.Result, nil
	})
	return &methods.CloneVM_TaskBody{Res: &types.CloneVM_TaskResponse{Returnval: task.Run()}}
}

// applyExtraConfig replaces and deletes: "If the option's value is an empty string, the key is removed". What upstream
// would run as a container is refused, because it is a command line.
func (vm *VirtualMachine) applyExtraConfig(spec *types.VirtualMachineConfigSpec) {
	var kept, given []types.BaseOptionValue
	named := map[string]bool{}
	for _, c := range spec.ExtraConfig {
		option := c.GetOptionValue()
		if strings.HasPrefix(option.Key, "RUN.") {
			continue
		}
		named[option.Key] = true
		if text, ok := option.Value.(string); !ok || text != "" {
			given = append(given, c)
		}
	}
	for _, c := range vm.Config.ExtraConfig {
		if !named[c.GetOptionValue().Key] {
			kept = append(kept, c)
		}
	}
	vm.Config.ExtraConfig = kept
	changed := *spec
	changed.ExtraConfig = given
	vm.appendExtraConfig(&changed)
}

// configure refuses a change of what was changed since it was looked at ("ConcurrentAccess: if the changeVersion does not
// match"), lets a removed card take its guest's addresses along, and tells property collectors what changed.
func (vm *VirtualMachine) configure(spec *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	if Lab.Ready && spec.ChangeVersion != "" && spec.ChangeVersion != vm.Config.ChangeVersion {
		return new(types.ConcurrentAccess)
	}
	fault := vm.configureSilently(spec)
	if fault == nil && Lab.Ready && Map.Get(vm.Self) != nil {
		vm.Config.ChangeVersion = strconv.FormatInt(time.Now().UnixNano(), 10)
		held := map[string]bool{}
		for _, device := range vm.Config.Hardware.Device {
			if card, ok := device.(types.BaseVirtualEthernetCard); ok {
				held[card.GetVirtualEthernetCard().MacAddress] = true
			}
		}
		var cards []types.GuestNicInfo
		for _, card := range vm.Guest.Net {
			if held[card.MacAddress] {
				cards = append(cards, card)
			}
		}
		vm.Guest.Net = cards
		Map.Update(vm, []types.PropertyChange{
			{Name: "config.changeVersion", Val: vm.Config.ChangeVersion},
			{Name: "config.hardware.numCPU", Val: vm.Config.Hardware.NumCPU},
			{Name: "config.hardware.memoryMB", Val: vm.Config.Hardware.MemoryMB},
			{Name: "summary.config.numCpu", Val: vm.Config.Hardware.NumCPU},
			{Name: "summary.config.memorySizeMB", Val: vm.Config.Hardware.MemoryMB},
			{Name: "config.extraConfig", Val: vm.Config.ExtraConfig},
			{Name: "name", Val: vm.Name},
		})
	}
	return fault
}

// RebootGuest asks the guest; without tools in it, as here, a host answers ToolsUnavailable.
func (vm *VirtualMachine) RebootGuest(*types.RebootGuest) soap.HasFault {
	return &methods.RebootGuestBody{Fault_: Fault("", &types.ToolsUnavailable{})}
}

// LabArm turns the hosts of a cluster into Arm hosts, as ESXi for Arm reports itself.
func LabArm(cluster string, model string) {
	for _, e := range Map.All("ClusterComputeResource") {
		c := e.(*ClusterComputeResource)
		if c.Name != cluster {
			continue
		}
		for _, ref := range c.Host {
			h := Map.Get(ref).(*HostSystem)
			hardware := *h.Hardware
			hardware.CpuPkg = append([]types.HostCpuPackage{}, hardware.CpuPkg...)
			for i := range hardware.CpuPkg {
				hardware.CpuPkg[i].Vendor = "arm"
				hardware.CpuPkg[i].Description = model
			}
			h.Hardware = &hardware
			h.Summary.Hardware.CpuModel = model
			product := *h.Summary.Config.Product
			product.OsType = "vmnix-arm64"
			h.Summary.Config.Product = &product
			if h.Config != nil {
				h.Config.Product = product
			}
		}
	}
}

// LabSession lets idle sessions end, as VirtualCenter's do after thirty minutes.
func LabSession(idle time.Duration) { SessionIdleTimeout = idle }
