"""Files in memory, each format written by its own library."""

import io

import nibabel
import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
RGB = np.stack([GREY, GREY + 1, GREY + 2], -1)
SPIN = np.diag([-0.5, -2.0, 3.0, 1.0]) + np.array([[0, 0, 0, 7.0]] * 3 + [[0] * 4]).astype(float)


def picture(array, kind="PNG", mode=None, **options):
    content = io.BytesIO()
    image = Image.fromarray(array) if isinstance(array, np.ndarray) else array
    (image.convert(mode) if mode else image).save(content, kind, **options)
    return content.getvalue()


def npz(**arrays):
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def nifti(array, affine=None, kind=nibabel.Nifti1Image, unit="mm"):
    image = kind(array, np.eye(4) if affine is None else affine)
    image.header.set_xyzt_units(unit)
    return image.to_bytes()


def dicom(array, spacing=(0.5, 0.25), photometric="MONOCHROME2", **tags):
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns = array.shape[:2]
    data.SamplesPerPixel = 3 if array.ndim == 3 else 1
    data.PhotometricInterpretation = photometric
    data.BitsAllocated = array.dtype.itemsize * 8
    data.BitsStored, data.HighBit = data.BitsAllocated, data.BitsAllocated - 1
    data.PixelRepresentation = int(array.dtype.kind == "i")
    if array.ndim == 3:
        data.PlanarConfiguration = 0
    if spacing:
        data.PixelSpacing = [*spacing]
    for name, value in tags.items():
        setattr(data, name, value)
    data.PixelData = array.tobytes()
    content = io.BytesIO()
    data.save_as(content, enforce_file_format=True)
    return content.getvalue()
