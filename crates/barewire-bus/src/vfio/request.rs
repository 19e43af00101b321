//! The system call behind every request to VFIO and iommufd.
#![allow(unsafe_code)]

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};

/// The letter that all requests of VFIO and iommufd have (`VFIO_TYPE`, `IOMMUFD_TYPE`).
pub(super) const KIND: u8 = b';';

/// The argument of a request: a structure that begins with its own size.
///
/// # Safety
///
/// - The kernel's request [`NUMBER`](Self::NUMBER) takes a pointer to this structure, laid out as
///   in the kernel's header.
/// - The first member says how many bytes the structure has, and every constructor sets it so:
///   the kernel reads and writes no more than that.
/// - Whatever the kernel writes there is a value of the type.
/// - Where a member is an address, the memory there is valid for what the kernel does with it for
///   as long as the structure lives.
pub(super) unsafe trait Argument {
    /// The request's number.
    const NUMBER: u8;
}

/// Makes a request with a structure as its argument; returns the number that the kernel returns.
pub(super) fn request<A: Argument>(fd: impl AsFd, argument: &mut A) -> io::Result<i32> {
    let call = Call {
        number: A::NUMBER,
        argument: std::ptr::from_mut(argument).cast(),
        _borrowed: PhantomData,
    };
    // SAFETY: `Argument` promises that the kernel takes this request to mean this structure; it is
    // exclusively ours for the time of the call.
    Ok(unsafe { ioctl(fd, call) }?)
}

/// Makes a request whose argument is a number.
fn request_number(fd: BorrowedFd<'_>, number: u8, argument: usize) -> io::Result<i32> {
    let call = Call {
        number,
        argument: std::ptr::without_provenance_mut(argument),
        _borrowed: PhantomData,
    };
    // SAFETY: the callers below name requests that take their argument by value: the kernel
    // follows no pointer.
    Ok(unsafe { ioctl(fd, call) }?)
}

/// `VFIO_GET_API_VERSION` on a container.
pub(super) fn api_version(container: BorrowedFd<'_>) -> io::Result<i32> {
    request_number(container, 100, 0)
}

/// `VFIO_CHECK_EXTENSION` on a container: whether it can have an IOMMU of this kind.
pub(super) fn has_extension(container: BorrowedFd<'_>, kind: usize) -> io::Result<bool> {
    Ok(request_number(container, 101, kind)? > 0)
}

/// `VFIO_SET_IOMMU` on a container with a group in it.
pub(super) fn set_iommu(container: BorrowedFd<'_>, kind: usize) -> io::Result<()> {
    request_number(container, 102, kind).map(drop)
}

/// `VFIO_DEVICE_RESET` on a device.
pub(super) fn reset_device(device: BorrowedFd<'_>) -> io::Result<()> {
    request_number(device, 111, 0).map(drop)
}

/// `VFIO_GROUP_SET_CONTAINER` on a group: the argument is a pointer to a file descriptor.
pub(super) fn set_container(group: BorrowedFd<'_>, container: BorrowedFd<'_>) -> io::Result<()> {
    let mut container = std::os::fd::AsRawFd::as_raw_fd(&container);
    let call = Call {
        number: 104,
        argument: std::ptr::from_mut(&mut container).cast(),
        _borrowed: PhantomData,
    };
    // SAFETY: this request reads one `int` where its argument points to, and writes nothing.
    unsafe { ioctl(group, call) }?;
    Ok(())
}

/// `VFIO_GROUP_GET_DEVICE_FD` on a group in a container: the argument is the device's name.
pub(super) fn device_fd(group: BorrowedFd<'_>, name: &std::ffi::CStr) -> io::Result<std::fs::File> {
    let call = Call {
        number: 106,
        argument: name.as_ptr().cast_mut().cast(),
        _borrowed: PhantomData,
    };
    // SAFETY: this request reads a string up to its NUL, which a `CStr` has, and writes nothing.
    let device = unsafe { ioctl(group, call) }?;
    // SAFETY: the kernel has just made this file descriptor for us, and nobody else knows of it.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(device) })
}

/// One system call: the number in the argument's place, or a pointer that lives long enough.
struct Call<'a> {
    number: u8,
    argument: *mut std::ffi::c_void,
    _borrowed: PhantomData<&'a mut ()>,
}

// SAFETY: `as_ptr` and `opcode` are what the functions above ask for, with their own proofs; the
// output is the number that the kernel returned, and no memory is looked at for it. The kernel may
// write through the pointer, hence `IS_MUTATING`.
unsafe impl Ioctl for Call<'_> {
    type Output = i32;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        opcode::none(KIND, self.number)
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        self.argument
    }

    unsafe fn output_from_ptr(
        output: IoctlOutput,
        _: *mut std::ffi::c_void,
    ) -> rustix::io::Result<i32> {
        Ok(output)
    }
}
